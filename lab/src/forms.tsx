// What the panel's forms have in common: they are checked while one writes, and change config.yaml.
import * as React from 'react';
import { IProblem, Refused, wordsOf } from './api';
import { Session } from './session';

const WAIT = 250; // milliseconds after a key until the server is asked

/** The answer to what somebody writes; null while it is asked for. */
export function useChecked<T>(ask: () => Promise<T> | null, ...keys: unknown[]): { answer: T | null; error: unknown } {
  const [state, setState] = React.useState<{ answer: T | null; error: unknown }>({ answer: null, error: null });
  React.useEffect(() => {
    let isCurrent = true;
    setState({ answer: null, error: null });
    const timer = setTimeout(() => {
      ask()?.then(
        answer => isCurrent && setState({ answer, error: null }),
        (error: unknown) => isCurrent && setState({ answer: null, error })
      );
    }, WAIT);
    return () => {
      isCurrent = false;
      clearTimeout(timer);
    };
  }, keys);
  return state;
}

/** A problem in words; without its place where that is clear. */
export function Words(props: { problem: IProblem; isHere?: boolean }): JSX.Element {
  const { where, message, hint } = props.problem;
  return (
    <>
      {where && !props.isHere && <>{where}: </>}
      {message}
      {hint && <span className="df-Soft"> → {hint}</span>}
    </>
  );
}

export function Told(props: { problems: IProblem[] }): JSX.Element {
  return (
    <>
      {props.problems.map((problem, index) => (
        <small key={index} className="df-Error" role="alert">
          <Words problem={problem} isHere={problem.where?.includes('config.yaml')} />
        </small>
      ))}
    </>
  );
}

export function Failed(props: { error: unknown }): JSX.Element | null {
  const { error } = props;
  if (!error) {
    return null;
  }
  return (
    <>
      <small className="df-Error" role="alert">{wordsOf(error)}</small>
      <Told problems={error instanceof Refused ? error.problems : []} />
    </>
  );
}

export function Diff(props: { lines: string[] }): JSX.Element | null {
  if (props.lines.length === 0) {
    return null;
  }
  return (
    <pre className="df-Diff" role="group" tabIndex={0} aria-label="What changes in config.yaml">
      {props.lines.map((line, index) => (
        <div key={index} className={line.startsWith('+') ? 'df-mod-new' : line.startsWith('-') ? 'df-mod-old' : 'df-Soft'}>
          {line.startsWith('@@') ? '…' : line || ' '}
        </div>
      ))}
    </pre>
  );
}

/** Do what a form is for: once at a time; `failed` is why it could not be done. */
export function useWork(): { work: (what: () => Promise<unknown>) => Promise<void>; failed: unknown; isBusy: boolean } {
  const [failed, setFailed] = React.useState<unknown>(null);
  const [isBusy, setBusy] = React.useState(false);
  const work = async (what: () => Promise<unknown>) => {
    setBusy(true);
    setFailed(null);
    try {
      await what();
    } catch (reason) {
      setFailed(reason);
    }
    setBusy(false);
  };
  return { work, failed, isBusy };
}

export function Ticks(props: { legend: string; isInner?: boolean; names: string[]; ticked: string[]; none: string; onChange: (ticked: string[]) => void }): JSX.Element {
  const { names, ticked, onChange } = props;
  return (
    <fieldset className="df-Scope" aria-label={props.legend}>
      {!props.isInner && <legend>{props.legend}</legend>}
      {names.length === 0 && <span className="df-Soft">{props.none}</span>}
      {names.map(name => (
        <label key={name}>
          <input
            type="checkbox" checked={ticked.includes(name)}
            onChange={() => onChange(ticked.includes(name) ? ticked.filter(one => one !== name) : names.filter(one => one === name || ticked.includes(one)))}
          />{' '}
          {name}
        </label>
      ))}
    </fieldset>
  );
}

/** The widgets in which a file is open. */
function contextsOf(session: Session, path: string) {
  return [...session.shell.widgets('main')]
    .map(widget => session.documents.contextForWidget(widget))
    .filter(context => context?.path === path);
}

/** Do what changes config.yaml, unless it is open with changes; open ones show the new content. */
export async function changing<T>(session: Session, config: string | null, work: () => Promise<T>): Promise<T> {
  const contexts = config === null ? [] : contextsOf(session, config);
  if (contexts.some(context => context!.model.dirty)) {
    throw new Error('config.yaml is open in a tab with changes that are not saved → Save or close it first.');
  }
  const answer = await work();
  await Promise.all(contexts.map(context => context!.revert()));
  return answer;
}
