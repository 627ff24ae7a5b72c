// A run's stage tried again: a copy of its notebook with the run's parameters, on the data as it was.
import * as React from 'react';
import { wordsOf } from './api';
import { beside } from './executed';
import { Session } from './session';

interface IAnswer {
  question: string | null;
  run: string;
  path: string | null;
  notes: string[];
}

/** What is going on with a run, and what its author is asked. */
interface IState {
  busy: boolean;
  question: string | null;
  error: string | null;
}

const states = new WeakMap<Session, Map<string, IState>>();

function put(session: Session, run: string, state: IState | null): void {
  const all = states.get(session) ?? new Map<string, IState>();
  states.set(session, all);
  if (state) {
    all.set(run, state);
  } else {
    all.delete(run);
  }
  session.changed.emit();
}

/**
 * Try again, or put the question whether data may be replaced into the list of runs.
 *
 * @param answer what becomes of the development copy; asked for when it is needed.
 */
export async function tryAgain(session: Session, run: string, answer?: 'replace' | 'keep'): Promise<void> {
  const { path, panel, documents } = session;
  put(session, run, { busy: true, question: null, error: null });
  try {
    const made = await session.api.post<IAnswer>('again', { path, run, answer });
    if (made.question) {
      put(session, run, null);
      put(session, made.run, { busy: false, question: made.question, error: null });
      return;
    }
    put(session, run, null);
    if (made.path) {
      const open = documents.findWidget(made.path);
      if (open) {
        await documents.contextForWidget(open)?.revert();
      }
      documents.openOrReveal(made.path, undefined, undefined, beside(session.shell, panel));
    }
  } catch (error) {
    put(session, run, { busy: false, question: null, error: wordsOf(error) });
  }
}

/** The button of a run, and what becomes of it. */
export function TryAgain(props: { session: Session; run: string }): JSX.Element {
  const { session, run } = props;
  const state = states.get(session)?.get(run);
  if (state?.question) {
    return (
      <div className="df-Question" role="group" aria-label="Try again">
        <p>{state.question}</p>
        <div className="df-Actions">
          <button className="df-Link" autoFocus onClick={() => void tryAgain(session, run, 'replace')}>Replace my copy</button>
          <button className="df-Link" onClick={() => void tryAgain(session, run, 'keep')}>Keep my copy as it is</button>
          <button className="df-Link" onClick={() => put(session, run, null)}>Cancel</button>
        </div>
      </div>
    );
  }
  return (
    <>
      <button
        className="df-Link"
        disabled={state?.busy}
        title="Open a copy with its parameters, on the data as it was"
        onClick={() => void tryAgain(session, run)}
      >
        {state?.busy ? 'Copying…' : 'Try again'}
      </button>
      {state?.error && <div className="df-Error" role="alert">{state.error}</div>}
    </>
  );
}
