// The steps of the workflow with the state of the last run.
import * as React from 'react';
import { IStep } from './api';
import { Session } from './session';
import { ago, rows, seconds, SIGN } from './words';

/** Steps that wait for the same ones stand side by side. */
function inRows(steps: IStep[]): IStep[][] {
  const depth = new Map<string, number>();
  const found: IStep[][] = [];
  for (const step of steps) {
    const at = 1 + Math.max(-1, ...step.after.map(name => depth.get(name) ?? -1));
    depth.set(step.name, at);
    (found[at] ??= []).push(step);
  }
  return found;
}

function Step(props: { session: Session; step: IStep }): JSX.Element {
  const { session, step } = props;
  const { source, status } = step;
  const here = step.name === session.view?.stage;
  // What never ran did not change.
  const isChanged = status !== null && session.stale?.has(step.name);
  const about = [
    `${step.name}: ${status ?? 'has not run'}`,
    step.after.length > 0 && `after ${step.after.join(', ')}`,
    step.ended_at && ago(step.ended_at),
    isChanged && 'changed since it last succeeded',
    step.error
  ];
  const title = about.filter(Boolean).join('\n');
  const facts = rows(step.rows) || seconds(step.seconds);
  return (
    <div className={`df-Step df-is-${(status ?? 'none').replace(' ', '-')}${here ? ' df-mod-here' : ''}`} title={title}>
      <span className="df-Sign" role="img" aria-label={status ?? 'has not run'}>
        {SIGN[status ?? ''] ?? '○'}
      </span>
      {source && !here ? (
        <button className="df-Link df-Name" onClick={() => session.open(source)} title={`Open ${source}\n${title}`}>
          {step.name}
        </button>
      ) : (
        <span className="df-Name" aria-current={here ? 'true' : undefined}>{step.name}</span>
      )}
      {isChanged && <span className="df-Badge">changed</span>}
      <span className="df-Facts">
        {step.executed ? (
          <button className="df-Link" onClick={() => void session.openExecuted(step)} title="Open the executed notebook of the last run">
            {facts || 'notebook'}
          </button>
        ) : (
          facts
        )}
        {step.seconds !== null && rows(step.rows) && <> · {seconds(step.seconds)}</>}
      </span>
    </div>
  );
}

export function Graph(props: { session: Session }): JSX.Element {
  const { session } = props;
  return (
    <ol className="df-Graph" aria-label="Steps of the workflow">
      {inRows(session.view!.steps).map((row, index) => (
        <li key={index}>
          {row.map(step => (
            <Step key={step.name} session={session} step={step} />
          ))}
        </li>
      ))}
    </ol>
  );
}
