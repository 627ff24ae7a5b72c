// New workflows and stages: forms in the panel, and the commands that open them.
import { JupyterFrontEnd } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { ILauncher } from '@jupyterlab/launcher';
import { addIcon, treeViewIcon } from '@jupyterlab/ui-components';
import * as React from 'react';
import { IProblem, Refused } from './api';
import { changing, Diff, Failed, Ticks, Told, useChecked, useWork } from './forms';
import { Session } from './session';

const CATEGORY = 'DATAFLOW';

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
  const { work, failed, isBusy } = useWork();
  React.useEffect(() => {
    session.api.get<{ templates: typeof templates }>('wire/workflow').then(answer => setTemplates(answer.templates), () => undefined);
  }, []);
  type Answer = { problems: IProblem[]; files: string[]; notebook: string | null };
  const ask = (write: boolean) => session.api.post<Answer>('wire/workflow', { path, name, template, write });
  const { answer, error } = useChecked(() => (name ? ask(false) : null), `${name}/${template}`);
  const problems = answer?.problems ?? [];
  const submit = async () => opened(session, await ask(true));
  return (
    <form className="df-Form" onSubmit={event => { event.preventDefault(); void work(submit); }}>
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
  const { work, failed, isBusy } = useWork();
  const ticked = after ?? stages.slice(-1);
  const body = { path, workflow, name, table, after: ticked };
  type Answer = { problems: IProblem[]; diff: string[]; config: string | null; notebook: string | null };
  const ask = (write: boolean) => session.api.post<Answer>('wire/stage', { ...body, write });
  const { answer, error } = useChecked(() => (name ? ask(false) : null), JSON.stringify(body));
  const problems = answer?.problems ?? [];
  const submit = async () => opened(session, await changing(session, answer!.config, () => ask(true)));
  return (
    <form className="df-Form" onSubmit={event => { event.preventDefault(); void work(submit); }}>
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
