// New workflows and stages, and a stage's settings in config.yaml: forms that the server checks.
import { JupyterFrontEnd } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { ILauncher } from '@jupyterlab/launcher';
import { addIcon, treeViewIcon } from '@jupyterlab/ui-components';
import * as React from 'react';
import { IProblem, Refused, wordsOf } from './api';
import { Session } from './session';

const WAIT = 250; // milliseconds after a key until the server is asked
const CATEGORY = 'DATAFLOW';

interface ISettings {
  /** Stands for config.yaml as it is on the server's disk. */
  seen: string;
  config: string;
  schedule: string | null;
  timezone: string;
  can_undo: boolean;
  stage: string | null;
  stages: string[];
  writes: string[];
  /** Tables that its last run wrote and config.yaml does not name. */
  undeclared: string[];
  /** Null is the stage above it in config.yaml. */
  after: string[] | null;
  waits_for: string[];
}

interface IChange {
  problems: Record<string, IProblem[]>;
  diff: string[];
  words: string | null;
  next: string[];
}

/** The answer to what somebody writes; null while it is asked for. */
function useChecked<T>(ask: () => Promise<T> | null, key: string): { answer: T | null; error: unknown } {
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
  }, [key]);
  return state;
}

function Told(props: { problems: IProblem[] }): JSX.Element {
  return (
    <>
      {props.problems.map((problem, index) => (
        <small key={index} className="df-Error" role="alert">
          {problem.where && !problem.where.includes('config.yaml') && <>{problem.where}: </>}
          {problem.message}
          {problem.hint && <span className="df-Soft"> → {problem.hint}</span>}
        </small>
      ))}
    </>
  );
}

function Failed(props: { error: unknown }): JSX.Element | null {
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

function Diff(props: { lines: string[] }): JSX.Element | null {
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

/** The widgets in which a file is open. */
function contextsOf(session: Session, path: string) {
  return [...session.shell.widgets('main')]
    .map(widget => session.documents.contextForWidget(widget))
    .filter(context => context?.path === path);
}

/** Do what changes config.yaml, unless it is open with changes; open ones show the new content. */
async function changing<T>(session: Session, config: string | null, work: () => Promise<T>): Promise<T> {
  const contexts = config === null ? [] : contextsOf(session, config);
  if (contexts.some(context => context!.model.dirty)) {
    throw new Error('config.yaml is open in a tab with changes that are not saved → Save or close it first.');
  }
  const answer = await work();
  await Promise.all(contexts.map(context => context!.revert()));
  return answer;
}

/** Show what was made. */
async function opened(session: Session, made: { problems: IProblem[]; notebook: string | null }): Promise<void> {
  if (made.problems.length > 0) {
    throw new Refused(made.problems[0].message, made.problems[0].hint, made.problems.slice(1));
  }
  session.making = null;
  if (made.notebook) {
    session.open(made.notebook);
  }
  if (session.commands.hasCommand('filebrowser:refresh')) {
    await session.commands.execute('filebrowser:refresh');
  }
  await session.refresh();
}

/** The form's end: what is to be, and the two ways out. */
function Ends(props: { session: Session; label: string; isReady: boolean }): JSX.Element {
  const { session } = props;
  return (
    <div className="df-Ends">
      <button type="submit" className="jp-mod-styled jp-mod-accept" disabled={!props.isReady}>{props.label}</button>
      <button type="button" className="jp-mod-styled" onClick={() => session.make(null)}>Cancel</button>
    </div>
  );
}

function NewWorkflow(props: { session: Session; path: string }): JSX.Element {
  const { session, path } = props;
  const [name, setName] = React.useState('');
  const [template, setTemplate] = React.useState('minimal');
  const [templates, setTemplates] = React.useState([{ name: 'minimal', about: '' }]);
  const [failed, setFailed] = React.useState<unknown>(null);
  const [isBusy, setBusy] = React.useState(false);
  React.useEffect(() => {
    session.api.get<{ templates: typeof templates }>('wire/workflow').then(answer => setTemplates(answer.templates), setFailed);
  }, []);
  type Answer = { problems: IProblem[]; files: string[]; notebook: string | null };
  const ask = (write: boolean) => session.api.post<Answer>('wire/workflow', { path, name, template, write });
  const { answer, error } = useChecked(() => (name ? ask(false) : null), `${name}/${template}`);
  const problems = answer?.problems ?? [];
  const submit = async () => {
    setBusy(true);
    setFailed(null);
    try {
      await opened(session, await ask(true));
    } catch (reason) {
      setFailed(reason);
    }
    setBusy(false);
  };
  return (
    <form className="df-Form" onSubmit={event => { event.preventDefault(); void submit(); }}>
      <div className="df-Field">
        <label htmlFor="df-new-name">Name</label>
        <div className="df-Row">
          <input
            id="df-new-name" className="jp-mod-styled" value={name} autoFocus spellCheck={false} autoComplete="off"
            aria-invalid={problems.length > 0 || undefined} aria-describedby="df-new-name-about"
            onChange={event => setName(event.currentTarget.value)}
          />
        </div>
        <small id="df-new-name-about" className="df-Soft">Lower-case letters, digits and _. It becomes a folder, a schema and the dashboard’s address.</small>
        <Told problems={problems} />
        <Failed error={error ?? failed} />
      </div>
      <div className="df-Field">
        <label htmlFor="df-new-template">Template</label>
        <div className="df-Row">
          <select id="df-new-template" className="jp-mod-styled" value={template} onChange={event => setTemplate(event.currentTarget.value)}>
            {templates.map(one => <option key={one.name} value={one.name}>{one.about ? `${one.name}: ${one.about}` : one.name}</option>)}
          </select>
        </div>
      </div>
      <p className="df-Soft" aria-live="polite">
        {answer?.files && `Will make ${answer.files.length} files: notebooks, dbt models, a dashboard and tests. It runs as it is.`}
      </p>
      <Ends session={session} label="Create" isReady={!!answer && problems.length === 0 && !isBusy} />
    </form>
  );
}

function NewStage(props: { session: Session; path: string }): JSX.Element {
  const { session, path } = props;
  const { workflows, workflow: current } = session.view!;
  const [workflow, setWorkflow] = React.useState(current ?? workflows[0]?.id ?? '');
  const stages = workflows.find(one => one.id === workflow)?.stages.map(stage => stage.name) ?? [];
  const [name, setName] = React.useState('');
  const [table, setTable] = React.useState('');
  const [after, setAfter] = React.useState<string[] | null>(null);
  const [failed, setFailed] = React.useState<unknown>(null);
  const [isBusy, setBusy] = React.useState(false);
  const ticked = after ?? stages.slice(-1);
  const body = { path, workflow, name, table, after: ticked };
  type Answer = { problems: IProblem[]; diff: string[]; config: string | null; notebook: string | null };
  const ask = (write: boolean) => session.api.post<Answer>('wire/stage', { ...body, write });
  const { answer, error } = useChecked(() => (name ? ask(false) : null), JSON.stringify(body));
  const problems = answer?.problems ?? [];
  const submit = async () => {
    setBusy(true);
    setFailed(null);
    try {
      await opened(session, await changing(session, answer!.config, () => ask(true)));
    } catch (reason) {
      setFailed(reason);
    }
    setBusy(false);
  };
  return (
    <form className="df-Form" onSubmit={event => { event.preventDefault(); void submit(); }}>
      <div className="df-Field">
        <label htmlFor="df-new-in">Workflow</label>
        <div className="df-Row">
          <select
            id="df-new-in" className="jp-mod-styled" value={workflow}
            onChange={event => { setWorkflow(event.currentTarget.value); setAfter(null); }}
          >
            {workflows.map(one => <option key={one.id} value={one.id}>{one.title}</option>)}
          </select>
        </div>
      </div>
      <div className="df-Field">
        <label htmlFor="df-new-name">Name</label>
        <div className="df-Row">
          <input
            id="df-new-name" className="jp-mod-styled" value={name} autoFocus spellCheck={false} autoComplete="off"
            aria-invalid={problems.length > 0 || undefined} onChange={event => setName(event.currentTarget.value)}
          />
        </div>
        <Told problems={problems} />
        <Failed error={error ?? failed} />
      </div>
      <div className="df-Field">
        <label htmlFor="df-new-table">Table that it writes</label>
        <div className="df-Row">
          <input
            id="df-new-table" className="jp-mod-styled" value={table} placeholder={name.toLowerCase()} spellCheck={false}
            autoComplete="off" onChange={event => setTable(event.currentTarget.value)}
          />
        </div>
      </div>
      <Ticks legend="Waits for" names={stages} ticked={ticked} onChange={setAfter} none="There is no other stage." />
      <Diff lines={answer?.diff ?? []} />
      <Ends session={session} label="Create" isReady={!!answer && problems.length === 0 && !isBusy} />
    </form>
  );
}

function Ticks(props: { legend: string; isInner?: boolean; names: string[]; ticked: string[]; none: string; onChange: (ticked: string[]) => void }): JSX.Element {
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

/** The form for what is to be made, while there is one. */
export function Making(props: { session: Session }): JSX.Element | null {
  const { session } = props;
  const { making, view } = session;
  if (!making || !view?.project) {
    return null;
  }
  const title = making.kind === 'workflow' ? 'New workflow' : 'New stage';
  return (
    <section aria-label={title} key={making.kind} onKeyDown={event => event.key === 'Escape' && session.make(null)}>
      <h3>{title}</h3>
      {making.kind === 'workflow' ? <NewWorkflow session={session} path={making.path} /> : <NewStage session={session} path={making.path} />}
    </section>
  );
}

/** The two buttons that lead there. */
export function MakeButtons(props: { session: Session }): JSX.Element | null {
  const { session } = props;
  const { view } = session;
  if (!view?.project || session.making) {
    return null;
  }
  return (
    <p className="df-Actions">
      <button className="df-Link" onClick={() => session.make('workflow')}>New workflow</button>
      {view.workflows.length > 0 && <button className="df-Link" onClick={() => session.make('stage')}>New stage</button>}
    </p>
  );
}

type Preset = 'hand' | 'hourly' | 'daily' | 'weekdays' | 'weekly' | 'cron';
const PRESETS: [Preset, string][] = [
  ['hand', 'by hand only'], ['hourly', 'every hour'], ['daily', 'every day'],
  ['weekdays', 'Monday to Friday'], ['weekly', 'every week'], ['cron', 'a cron line']
];
const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];

interface IWhen {
  preset: Preset;
  time: string;
  day: string;
}

/** Which of the presets a cron line is. */
function presetOf(schedule: string | null): IWhen {
  const usual = { time: '06:00', day: '1' };
  if (schedule === null) {
    return { preset: 'hand', ...usual };
  }
  const found = /^(\d{1,2}) (\d{1,2}|\*) \* \* (\*|1-5|[0-6])$/.exec(schedule.trim());
  const [, minute, hour, day] = found ?? [];
  if (found && hour !== '*' && Number(minute) < 60 && Number(hour) < 24) {
    const time = `${hour.padStart(2, '0')}:${minute.padStart(2, '0')}`;
    return day === '*' ? { ...usual, preset: 'daily', time } : day === '1-5' ? { ...usual, preset: 'weekdays', time } : { preset: 'weekly', time, day };
  }
  return { preset: schedule.trim() === '0 * * * *' ? 'hourly' : 'cron', ...usual };
}

function cronOf({ preset, time, day }: IWhen, cron: string): string {
  const [hour, minute] = time.split(':').map(Number);
  const at = `${minute || 0} ${hour || 0} * *`;
  return { hand: '', hourly: '0 * * * *', daily: `${at} *`, weekdays: `${at} 1-5`, weekly: `${at} ${day}`, cron }[preset];
}

interface IDraft {
  schedule: string;
  timezone: string;
  writes: string[];
  after: string[] | null;
}

function draftOf(settings: ISettings): IDraft {
  return {
    schedule: settings.schedule ?? '',
    timezone: settings.timezone,
    writes: settings.writes ?? [],
    after: settings.after ?? null
  };
}

/** What differs from config.yaml, as the server takes it. */
function changes(settings: ISettings, draft: IDraft): Record<string, unknown> {
  const before = draftOf(settings);
  const changed: Record<string, unknown> = {};
  if (draft.schedule !== before.schedule || draft.timezone !== before.timezone) {
    changed.schedule = draft.schedule || null;
    changed.timezone = draft.timezone;
  }
  if (draft.writes.join() !== before.writes.join()) {
    changed.writes = draft.writes;
  }
  if (JSON.stringify(draft.after) !== JSON.stringify(before.after)) {
    changed.after = draft.after;
  }
  return changed;
}

function Schedule(props: { draft: IDraft; change: IChange | null; onChange: (draft: Partial<IDraft>) => void }): JSX.Element {
  const { draft, change, onChange } = props;
  const [when, setWhen] = React.useState(() => presetOf(draft.schedule || null));
  const choose = (part: Partial<IWhen>) => {
    const next = { ...when, ...part };
    setWhen(next);
    onChange({ schedule: cronOf(next, draft.schedule || '0 6 * * *') });
  };
  const problems = change?.problems.schedule ?? [];
  const hasTime = ['daily', 'weekdays', 'weekly'].includes(when.preset);
  return (
    <fieldset className="df-Scope">
      <legend>The workflow runs</legend>
      <div className="df-When">
        <select className="jp-mod-styled" aria-label="How often" value={when.preset} onChange={event => choose({ preset: event.currentTarget.value as Preset })}>
          {PRESETS.map(([name, text]) => <option key={name} value={name}>{text}</option>)}
        </select>
        {when.preset === 'weekly' && (
          <select className="jp-mod-styled" aria-label="Day" value={when.day} onChange={event => choose({ day: event.currentTarget.value })}>
            {DAYS.map((name, index) => <option key={name} value={String(index)}>{name}</option>)}
          </select>
        )}
        {hasTime && (
          <input type="time" className="jp-mod-styled" aria-label="Time" value={when.time} onChange={event => event.currentTarget.value && choose({ time: event.currentTarget.value })} />
        )}
      </div>
      {when.preset !== 'hand' && (
        <>
          <div className="df-When">
            <input
              className="jp-mod-styled df-Cron" aria-label="Cron line" value={draft.schedule} spellCheck={false} autoComplete="off"
              aria-invalid={problems.length > 0 || undefined}
              onChange={event => {
                setWhen({ ...when, preset: 'cron' });
                onChange({ schedule: event.currentTarget.value });
              }}
            />
            <input
              className="jp-mod-styled" aria-label="Time zone" list="df-zones" value={draft.timezone} spellCheck={false} autoComplete="off"
              onChange={event => onChange({ timezone: event.currentTarget.value })}
            />
            <datalist id="df-zones">
              {['UTC', ...Intl.supportedValuesOf('timeZone')].map(name => <option key={name} value={name} />)}
            </datalist>
          </div>
          <p className="df-Soft" aria-live="polite">{change?.words}</p>
          {change?.words && change.next.length === 0 && <p className="df-Soft">It is never due.</p>}
          {change && change.next.length > 0 && (
            <ul className="df-Plain df-Soft" aria-label="Its next times">
              {change.next.map((time, index) => <li key={time}>{index === 0 ? 'next' : 'then'} {time}</li>)}
            </ul>
          )}
        </>
      )}
      <Told problems={problems} />
    </fieldset>
  );
}

function Writes(props: { settings: ISettings; draft: IDraft; change: IChange | null; onChange: (draft: Partial<IDraft>) => void }): JSX.Element {
  const { settings, draft, onChange } = props;
  const [text, setText] = React.useState('');
  const problems = props.change?.problems.writes ?? [];
  const add = (table: string) => {
    if (table && !draft.writes.includes(table)) {
      onChange({ writes: [...draft.writes, table] });
    }
    setText('');
  };
  const proposed = settings.undeclared.filter(table => !draft.writes.includes(table));
  return (
    <fieldset className="df-Scope">
      <legend>{settings.stage} writes</legend>
      <ul className="df-Plain">
        {draft.writes.map(table => (
          <li key={table} className="df-Item">
            <code>{table}</code>
            <button type="button" className="df-Link" aria-label={`Remove ${table}`} onClick={() => onChange({ writes: draft.writes.filter(one => one !== table) })}>remove</button>
          </li>
        ))}
      </ul>
      {draft.writes.length === 0 && <span className="df-Soft">no table</span>}
      <div className="df-When">
        <input
          className="jp-mod-styled" aria-label="Another table" placeholder="another table" value={text} spellCheck={false} autoComplete="off"
          aria-invalid={problems.length > 0 || undefined}
          onChange={event => setText(event.currentTarget.value)}
          onKeyDown={event => {
            if (event.key === 'Enter') {
              event.preventDefault(); // it would save
              add(text.trim());
            }
          }}
        />
        <button type="button" className="jp-mod-styled" disabled={!text.trim()} onClick={() => add(text.trim())}>Add</button>
      </div>
      {proposed.length > 0 && (
        <p className="df-Soft">
          Its last run wrote, too:{' '}
          {proposed.map(table => (
            <button key={table} type="button" className="df-Link" aria-label={`Add ${table}`} onClick={() => add(table)}>+ {table} </button>
          ))}
        </p>
      )}
      <Told problems={problems} />
    </fieldset>
  );
}

function After(props: { settings: ISettings; draft: IDraft; change: IChange | null; onChange: (draft: Partial<IDraft>) => void }): JSX.Element {
  const { settings, draft, onChange } = props;
  const { after } = draft;
  return (
    <fieldset className="df-Scope">
      <legend>{settings.stage} waits for</legend>
      <label>
        <input type="radio" name="df-after" checked={after === null} onChange={() => onChange({ after: null })} />{' '}
        the stage above it in config.yaml{settings.after === null && `: ${settings.waits_for.join(', ') || 'none'}`}
      </label>
      <label>
        <input type="radio" name="df-after" checked={after !== null} onChange={() => onChange({ after: settings.waits_for })} />{' '}
        {settings.stages.length > 0 ? 'these:' : 'none'}
      </label>
      {after !== null && (
        <div className="df-Inner">
          <Ticks legend="Stages" isInner names={settings.stages} ticked={after} onChange={ticked => onChange({ after: ticked })} none="" />
        </div>
      )}
      <Told problems={props.change?.problems.after ?? []} />
    </fieldset>
  );
}

function SettingsForm(props: { session: Session; settings: ISettings; isSaved: boolean; reload: (isSaved?: boolean) => Promise<void> }): JSX.Element {
  const { session, settings, isSaved, reload } = props;
  const ends = React.useRef<HTMLDivElement>(null);
  React.useEffect(() => {
    if (isSaved) {
      ends.current?.focus(); // where Save was; the form is a new one
    }
  }, []);
  const { path, api } = session;
  const [draft, setDraft] = React.useState(() => draftOf(settings));
  const [failed, setFailed] = React.useState<unknown>(null);
  const [isBusy, setBusy] = React.useState(false);
  const changed = changes(settings, draft);
  const isChanged = Object.keys(changed).length > 0;
  const post = (write: boolean) => api.post<IChange>('wire/settings', { path, seen: settings.seen, ...changed, write });
  // Without a change it is still asked for the schedule in words.
  const body = isChanged ? changed : { schedule: draft.schedule || null, timezone: draft.timezone };
  const { answer, error } = useChecked(
    () => (isChanged || draft.schedule ? api.post<IChange>('wire/settings', { path, seen: settings.seen, ...body }) : null),
    JSON.stringify(body) + settings.seen
  );
  const update = (part: Partial<IDraft>) => setDraft({ ...draft, ...part });
  const work = async (what: () => Promise<unknown>) => {
    setBusy(true);
    setFailed(null);
    try {
      await changing(session, settings.config, what);
      await reload(true);
      await session.refresh();
    } catch (reason) {
      setFailed(reason);
      setBusy(false);
    }
  };
  const save = async () => {
    const done = await post(true);
    const problems = Object.values(done.problems).flat();
    if (problems.length > 0) {
      throw new Error(problems.map(problem => problem.message).join('; '));
    }
  };
  // What was asked before a change is answered after it, and told then that the file is another.
  const isRight = isBusy || (answer === null ? !error : Object.keys(answer.problems).length === 0);
  return (
    <form className="df-Form" onSubmit={event => { event.preventDefault(); void work(save); }}>
      <fieldset className="df-Whole" disabled={isBusy}>
        {settings.stage && <Writes settings={settings} draft={draft} change={answer} onChange={update} />}
        {settings.stage && <After settings={settings} draft={draft} change={answer} onChange={update} />}
        <Schedule draft={draft} change={answer} onChange={update} />
        {isChanged && answer && <Diff lines={answer.diff} />}
        {!isRight && <Told problems={answer?.problems[''] ?? []} />}
        <Failed error={failed ?? (isRight ? null : error)} />
        <div className="df-Ends" ref={ends} tabIndex={-1}>
          <button type="submit" className="jp-mod-styled jp-mod-accept" disabled={!isChanged || !answer || !isRight || isBusy}>Save to config.yaml</button>
          {isChanged || !isRight ? (
            <button type="button" className="jp-mod-styled" onClick={() => void reload()}>Start over</button>
          ) : (
            settings.can_undo && (
              <button type="button" className="jp-mod-styled" disabled={isBusy} onClick={() => void work(() => api.post('wire/undo', { path }))}>Undo</button>
            )
          )}
        </div>
        {settings.can_undo && !isChanged && <p className="df-Soft" role="status">config.yaml is changed.</p>}
      </fieldset>
    </form>
  );
}

/** What config.yaml says of the stage and its workflow; folded until somebody looks. */
export function Settings(props: { session: Session }): JSX.Element {
  const { session } = props;
  const { path } = session;
  const [isOpen, setOpen] = React.useState(false);
  const [state, setState] = React.useState({ settings: null as ISettings | null, error: null as unknown, isSaved: false, at: 0 });
  const load = async (isSaved = false) => {
    try {
      const settings = await session.api.get<ISettings>('wire/settings', { path: path! });
      setState(before => ({ settings, error: null, isSaved, at: before.at + 1 }));
    } catch (error) {
      setState(before => ({ settings: null, error, isSaved, at: before.at + 1 }));
    }
  };
  React.useEffect(() => {
    setState(before => ({ ...before, settings: null, error: null }));
    if (isOpen) {
      void load();
    }
  }, [isOpen, path]);
  return (
    <details open={isOpen} onToggle={event => setOpen(event.currentTarget.open)}>
      <summary>{session.view!.stage ? 'Tables, order and schedule' : 'Schedule'}</summary>
      {!!state.error && <Failed error={state.error} />}
      {isOpen && state.settings && <SettingsForm key={state.at} session={session} settings={state.settings} isSaved={state.isSaved} reload={load} />}
    </details>
  );
}

/** The commands, and their tiles in the launcher once there is a project. */
export function addMaking(app: JupyterFrontEnd, session: Session, launcher: ILauncher | null, palette: ICommandPalette | null): void {
  const kinds = [
    { kind: 'workflow', icon: treeViewIcon, caption: 'Make a workflow from a template: notebooks, models, a dashboard, tests' },
    { kind: 'stage', icon: addIcon, caption: 'Add a notebook to a workflow, as a stage that runs' }
  ] as const;
  for (const [rank, { kind, icon, caption }] of kinds.entries()) {
    const command = `dataflow:new-${kind}`;
    app.commands.addCommand(command, {
      label: `New ${kind === 'workflow' ? 'Workflow' : 'Stage'}`,
      caption,
      icon,
      describedBy: { args: { type: 'object', properties: { cwd: { type: 'string' } } } },
      isVisible: () => !!session.view?.project,
      isEnabled: () => !!session.view?.project && (kind === 'workflow' || session.view.workflows.length > 0),
      execute: args => session.make(kind, kind === 'workflow' && typeof args.cwd === 'string' ? `${args.cwd}/_` : undefined)
    });
    palette?.addItem({ command, category: CATEGORY });
    let isShown = false;
    session.changed.connect(() => {
      if (!isShown && session.view?.project) {
        isShown = true;
        launcher?.add({ command, category: CATEGORY, rank });
      }
    });
  }
}
