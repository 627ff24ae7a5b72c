// The runs of the notebook, whoever started them.
import * as React from 'react';
import { TryAgain } from './again';
import { IRun } from './api';
import { Session } from './session';
import { ago, rows, seconds, SIGN } from './words';

/** What can be done with a run: a label, its explanation, and a command of JupyterLab. */
const ACTIONS: [string, string, string][] = [
  ['Compare', 'Compare the notebook with this run', 'dataflow:compare'],
  ['With last good', 'Compare this run with the last good one before it', 'dataflow:compare-runs']
];

function Run(props: { session: Session; run: IRun }): JSX.Element {
  const { session, run } = props;
  const values = Object.entries(run.values).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
  const facts = [run.trigger, run.user, seconds(run.seconds), rows(run.rows)].filter(Boolean).join(' · ');
  const whole = run.result !== run.status ? `; the run ${run.result}` : '';
  return (
    <li className={`df-Run df-is-${(run.status ?? 'none').replace(' ', '-')}`}>
      <span className="df-Sign" role="img" aria-label={`${run.status}${whole}`} title={`${run.status}${whole}`}>
        {SIGN[run.status ?? ''] ?? '○'}
      </span>
      <div>
        <div>
          {run.executed ? (
            <button className="df-Link" title={`Open the executed notebook of run ${run.short}`} onClick={() => void session.openExecuted(run)}>
              {ago(run.started_at)}
            </button>
          ) : (
            ago(run.started_at)
          )}{' '}
          <span className="df-Soft">{facts}</span>
        </div>
        {values.length > 0 && <div className="df-Values">{values.join(' ')}</div>}
        {run.error && <div className="df-Error">{run.error}</div>}
        {run.failed_checks.map(check => (
          <div key={check.name} className={check.severity === 'error' ? 'df-Error' : 'df-Warning'}>check: {check.name}</div>
        ))}
        <div className="df-Actions">
          {values.length > 0 && (
            <button className="df-Link" onClick={() => session.useValues(run)}>Use its parameters</button>
          )}
          {ACTIONS.filter(([, , command]) => session.isStage && run.executed && session.commands.hasCommand(command)).map(
            ([label, title, command]) => (
              <button key={command} className="df-Link" title={title} onClick={() => void session.commands.execute(command, { run: run.run })}>
                {label}
              </button>
            )
          )}
          {session.isStage && run.executed && <TryAgain session={session} run={run.run} />}
        </div>
      </div>
    </li>
  );
}

export function Runs(props: { session: Session }): JSX.Element {
  const { runs } = props.session.view!;
  if (runs.length === 0) {
    return <p className="df-Soft">It has not run yet.</p>;
  }
  return (
    <ul className="df-Runs">
      {runs.map(run => <Run key={run.run} session={props.session} run={run} />)}
    </ul>
  );
}
