// The run that goes on: what it prints, cancel, and how it ended.
import { Event } from '@jupyterlab/services';
import * as React from 'react';
import { IProblem, wordsOf } from './api';
import { Words } from './forms';
import { Session } from './session';
import { isMine, prepare } from './starting';
import { seconds, SIGN } from './words';

const EVENT = 'https://dataflow.invalid/run/v1'; // dataflow/lab/watch.py
const MOST = 200_000; // characters that are shown
const PAUSE = 2_000; // milliseconds after a request that failed
const AGAIN = 20_000; // milliseconds after which a cancel may be repeated
const SOON = 300; // milliseconds in which changes are taken together

/** How a run stands (dataflow/lab/running.py). */
interface IState {
  /** What it printed since; null when that is not kept here. */
  text: string | null;
  offset: number;
  ended: boolean;
  status: string | null;
  trigger: string | null;
  user: string | null;
  started_at: string | null;
  waiting_for: string | null;
  /** What kept it from running. */
  error: { message: string; where: string | null; hint: string | null; problems: IProblem[] } | null;
}

const pause = (milliseconds: number) => new Promise(resolve => setTimeout(resolve, milliseconds));

/** Refresh the panel when a run of its workflow changed, whoever started it. */
export function watchRuns(events: Event.IManager, session: Session): void {
  let timer = 0;
  events.stream.connect((_, event) => {
    const { view } = session;
    if (event.schema_id === EVENT && event.project === view?.project?.home && event.workflow === view?.workflow) {
      window.clearTimeout(timer);
      timer = window.setTimeout(() => void session.refresh(), SOON);
    }
  });
  // The server watches for half an hour after a request.
  document.addEventListener('visibilitychange', () => {
    if (document.visibilityState === 'visible') {
      void session.refresh();
    }
  });
}

/** Read what a run prints until it has ended, also over interruptions; `told` gets each answer. */
async function follow(session: Session, run: string, path: string, told: (state: IState | null) => void, goesOn: () => boolean): Promise<IState | null> {
  let offset = 0;
  let status = '';
  while (goesOn()) {
    try {
      const state = await session.api.get<IState>(`running/${run}`, { path, offset: `${offset}`, status });
      if (!goesOn()) {
        break;
      }
      told(state);
      offset = state.offset;
      if (state.ended) {
        return state;
      }
      if (status && state.status !== status) {
        void session.refresh();
      }
      status = state.status ?? 'none';
    } catch {
      told(null);
      await pause(PAUSE);
    }
  }
  return null;
}

function Elapsed(props: { since: string }): JSX.Element {
  const [now, setNow] = React.useState(Date.now());
  React.useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  const past = Math.max(0, Math.round((now - Date.parse(props.since)) / 1000));
  return <>{past < 60 ? `${past} s` : `${Math.floor(past / 60)} min ${past % 60} s`}</>;
}

/** Text that follows its end, unless somebody scrolled up. */
function Printed(props: { text: string }): JSX.Element {
  const box = React.useRef<HTMLPreElement>(null);
  const follows = React.useRef(true);
  React.useLayoutEffect(() => {
    if (box.current && follows.current) {
      box.current.scrollTop = box.current.scrollHeight;
    }
  }, [props.text]);
  return (
    <pre
      ref={box}
      className="df-Printed"
      role="log"
      aria-live="off"
      aria-label="What the run prints"
      tabIndex={0}
      onScroll={({ currentTarget: at }) => (follows.current = at.scrollHeight - at.scrollTop - at.clientHeight < 24)}
    >
      {props.text}
    </pre>
  );
}

function words(state: IState): string {
  if (!state.ended) {
    return state.waiting_for ? 'waiting' : state.status === 'waiting' || state.status === 'running' ? state.status : 'starting';
  }
  return state.error ? 'did not run' : state.status ?? 'had nothing to do';
}

function Following(props: { session: Session; run: string }): JSX.Element {
  const { session, run } = props;
  const path = session.path!;
  const [state, setState] = React.useState<IState | null>(null);
  const [text, setText] = React.useState('');
  const [isLost, setLost] = React.useState(false);
  const [isCancelling, setCancelling] = React.useState(false);
  const [took, setTook] = React.useState<number | null>(null);
  const [error, setError] = React.useState<string | null>(null);
  React.useEffect(() => {
    let isCurrent = true;
    let sawItGoOn = false;
    const told = (found: IState | null) => {
      setLost(found === null);
      if (found) {
        sawItGoOn = sawItGoOn || !found.ended;
        setState(found);
        setText(before => (found.text ? (before + found.text).slice(-MOST) : before));
      }
    };
    void follow(session, run, path, told, () => isCurrent).then(end => {
      if (end && isCurrent) {
        setTook(sawItGoOn && end.started_at ? (Date.now() - Date.parse(end.started_at)) / 1000 : null);
        if (session.form.open) {
          prepare(session); // for the next one
        }
        // What was started elsewhere, be it in another tab, opens nothing here.
        void session.ended(run, sawItGoOn && isMine(run));
      }
    });
    return () => {
      isCurrent = false;
    };
  }, []);
  const cancel = async () => {
    setCancelling(true);
    setError(null);
    setTimeout(() => setCancelling(false), AGAIN);
    try {
      await session.api.delete(`running/${run}?${new URLSearchParams({ path })}`);
    } catch (reason) {
      setError(wordsOf(reason));
      setCancelling(false);
    }
  };
  const how = state ? words(state) : 'starting';
  const about = [`run ${run.slice(0, 8)}`, state?.trigger, state?.user].filter(Boolean).join(' · ');
  return (
    <div className={`df-Progress df-is-${how.replace(/ /g, '-')}`}>
      <div className="df-Row">
        <span role="status">
          <span className="df-Sign" aria-hidden="true">{SIGN[how] ?? (state?.ended ? '✗' : '…')}</span>
          <strong>{isCancelling && !state?.ended ? 'being cancelled' : how}</strong>{' '}
        </span>
        {!state?.ended ? (
          <>
            <span className="df-Soft">{state?.started_at && <Elapsed since={state.started_at} />}</span>
            <button className="jp-mod-styled" disabled={isCancelling || !state} onClick={() => void cancel()}>
              Cancel
            </button>
          </>
        ) : (
          <>
            <span className="df-Soft">{seconds(took)}</span>
            <button
              className="df-Link"
              aria-label="Close what the run printed"
              onClick={() => {
                session.following = null;
                session.changed.emit();
              }}
            >
              Close
            </button>
          </>
        )}
      </div>
      <div className="df-Soft">{about}</div>
      {state?.waiting_for && !state.ended && <p>{state.waiting_for}</p>}
      {isLost && <p className="df-Warning">JupyterLab’s server does not answer; the run goes on without it.</p>}
      {error && <p className="df-Error" role="alert">{error}</p>}
      {state?.error && (
        <div className="df-Error" role="alert">
          <p>
            {state.error.where && <>{state.error.where}: </>}
            {state.error.message}
          </p>
          {state.error.hint && <p className="df-Soft">→ {state.error.hint}</p>}
          {state.error.problems.map((problem, index) => <p key={index}><Words problem={problem} /></p>)}
        </div>
      )}
      {text ? (
        <Printed text={text} />
      ) : (
        state?.text === null && !state.ended && <p className="df-Soft">What it prints is shown where it was started.</p>
      )}
    </div>
  );
}

/** The run that the session follows. */
export function Progress(props: { session: Session }): JSX.Element {
  const run = props.session.following!;
  return <Following key={run} session={props.session} run={run} />;
}
