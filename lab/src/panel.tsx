// The side panel: sections of what the session knows, from the workflow to the notebook's runs.
import { ReactWidget } from '@jupyterlab/ui-components';
import * as React from 'react';
import { IProblem } from './api';
import { Form } from './form';
import { Words } from './forms';
import { Graph } from './graph';
import { MakeButtons, Making } from './making';
import { ProblemList } from './problems';
import { Progress } from './progress';
import { Runs } from './runs';
import { Session } from './session';
import { Settings } from './settings';

interface ISection {
  title: string;
  /** Whether it is shown now. */
  when: (session: Session) => boolean;
  body: (props: { session: Session }) => JSX.Element | null;
}

/** The form, folded until somebody wants to run. */
function RunForm(props: { session: Session }): JSX.Element {
  const { session } = props;
  const { open } = session.form;
  return (
    <details open={open} onToggle={event => event.currentTarget.open !== open && session.setForm({ open: !open })}>
      <summary>Parameters, and what to run</summary>
      {open && <Form session={session} key={session.path} />}
    </details>
  );
}

/** Those of a file in a workflow, from top to bottom. */
const SECTIONS: ISection[] = [
  { title: 'Steps', when: session => session.view!.steps.length > 0, body: Graph },
  { title: 'This run', when: session => session.following !== null, body: Progress },
  { title: 'Problems', when: ({ problems }) => !!problems.found || !!problems.error, body: ProblemList },
  { title: 'Run as a stage', when: session => session.isStage, body: RunForm },
  { title: 'Settings', when: () => true, body: Settings },
  { title: 'Runs', when: () => true, body: Runs }
];

function Workflows(props: { session: Session }): JSX.Element {
  const { session } = props;
  const { workflows } = session.view!;
  return (
    <>
      {session.path && <p className="df-Soft">This file is not in a workflow.</p>}
      {workflows.map(workflow => (
        <section key={workflow.id}>
          <h3>{workflow.title}</h3>
          <ul className="df-Plain">
            {workflow.stages.map(({ name, path }) => (
              <li key={name}>
                <button className="df-Link" disabled={path === null} onClick={() => session.open(path!)}>{name}</button>
              </li>
            ))}
          </ul>
        </section>
      ))}
    </>
  );
}

function Workflow(props: { session: Session }): JSX.Element {
  const { session } = props;
  const view = session.view!;
  const { pages } = view;
  const link = (tile: string, page: string) => session.api.tile(tile, view.project!.home, page);
  return (
    <>
      <h2>{view.title}</h2>
      <p className="df-Soft">{view.schedule ?? 'runs by hand'}</p>
      <p className="df-Actions">
        {pages.dashboards && <a className="df-Link" href={link('dashboards', pages.dashboards)} target="_blank" rel="noreferrer">Dashboard</a>}
        <a className="df-Link" href={link('runs', pages.runs)} target="_blank" rel="noreferrer">All runs</a>
        <button className="df-Link" onClick={() => session.open(view.config)}>config.yaml</button>
        {session.isStage && <button className="df-Link" onClick={() => void session.commands.execute('dataflow:tables')}>Tables</button>}
      </p>
      {SECTIONS.filter(section => section.when(session)).map(section => (
        <section key={section.title} aria-label={section.title}>
          <h3>{section.title}</h3>
          <section.body session={session} />
        </section>
      ))}
    </>
  );
}

/** Whether a problem is among those of the notebook in front. */
function isListed({ where, message }: IProblem, { problems }: Session): boolean {
  return !!problems.found?.some(one => one.where === where && one.message === message);
}

function View(props: { session: Session }): JSX.Element {
  const { view, error } = props.session;
  return (
    <>
      {error && <p className="df-Error" role="alert">{error}</p>}
      <Making session={props.session} />
      {!view ? (
        !error && <p className="df-Soft">Looking…</p>
      ) : !view.project ? (
        <p className="df-Soft">{props.session.path ? 'This file is in no DATAFLOW project.' : 'Open a notebook to see its workflow.'}</p>
      ) : view.broken ? (
        <section>
          <h3>config.yaml is not valid</h3>
          <ProblemList session={props.session} />
          {view.broken.filter(one => !isListed(one, props.session)).map((problem, index) => (
            <p key={index} className="df-Error">
              <Words problem={problem} />
            </p>
          ))}
        </section>
      ) : view.workflow ? (
        <Workflow session={props.session} />
      ) : (
        <Workflows session={props.session} />
      )}
      <MakeButtons session={props.session} />
    </>
  );
}

export class DataflowPanel extends ReactWidget {
  constructor(readonly session: Session) {
    super();
    this.id = 'dataflow-panel';
    this.title.caption = 'DATAFLOW: the workflow of this notebook, its runs and problems';
    this.addClass('df-Panel');
    session.changed.connect(() => this.update());
  }

  protected render(): JSX.Element {
    return <View session={this.session} />;
  }
}
