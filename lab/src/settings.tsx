// What config.yaml says of a stage and its workflow: its tables, its order, the schedule.
import * as React from 'react';
import { IProblem } from './api';
import { changing, Diff, Failed, Ticks, Told, useChecked, useWork } from './forms';
import { Session } from './session';

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
  const { work, failed, isBusy } = useWork();
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
  const write = (what: () => Promise<unknown>) =>
    work(async () => {
      await changing(session, settings.config, what);
      await reload(true);
      await session.refresh();
    });
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
    <form className="df-Form" onSubmit={event => { event.preventDefault(); void write(save); }}>
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
              <button type="button" className="jp-mod-styled" disabled={isBusy} onClick={() => void write(() => api.post('wire/undo', { path }))}>Undo</button>
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
