// What the panel is about: the file in front, what the server says of it, and what is in the form.
import { ILabShell } from '@jupyterlab/application';
import { IDocumentManager } from '@jupyterlab/docmanager';
import { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { CommandRegistry } from '@lumino/commands';
import { Signal } from '@lumino/signaling';
import { Api, IRun, IStep, IView, wordsOf } from './api';
import { beside, ExecutedNotebooks } from './executed';
import { Problems } from './problems';
import { newRun, rememberRun } from './starting';

export type Scope = 'only' | 'start' | 'all' | 'changed';

/** What somebody wrote into a notebook's form. */
export interface IForm {
  open: boolean;
  scope: Scope;
  /** Text by parameter; what is missing or empty is left to config.yaml and the notebook. */
  values: Record<string, string>;
}

export class Session {
  /** The notebook that the panel shows, as JupyterLab names it; empty when none is open. */
  path: string | null = null;
  view: IView | null = null;
  /** The steps that changed since they last succeeded; null while that is not known. */
  stale: Set<string> | null = null;
  error: string | null = null;
  /** The run that the panel follows: one of this workflow that goes on, or that has just ended. */
  following: string | null = null;
  /** Whether a run is being started. */
  starting = false;
  settings = { openExecuted: 'always', liveProblems: true };
  /** What is wrong in the notebook as it is in the editor. */
  readonly problems: Problems;
  /** What is being made in a form of the panel. */
  making: { kind: 'workflow' | 'stage'; path: string } | null = null;
  /** Something changed that the panel shows. */
  readonly changed = new Signal<this, void>(this);
  private _forms = new Map<string, IForm>();

  constructor(
    readonly api: Api,
    readonly commands: CommandRegistry,
    readonly tracker: INotebookTracker,
    readonly documents: IDocumentManager,
    readonly shell: ILabShell,
    readonly executed: ExecutedNotebooks
  ) {
    this.problems = new Problems(this);
    tracker.currentChanged.connect(() => void this.follow());
    tracker.widgetAdded.connect((_, panel) => {
      panel.context.saveState.connect((_, state) => {
        if (state === 'completed' && panel.context.path === this.path) {
          void this.refresh();
        }
      });
    });
  }

  /** Show the notebook in front; while an executed one is, the panel stays as it is. */
  async follow(): Promise<void> {
    const path = this.tracker.currentWidget?.context.path ?? '';
    if (path !== this.path) {
      this.path = path;
      this.view = null;
      this.following = null;
      this.stale = null;
      this.problems.found = null;
      this.changed.emit(); // not another notebook's steps while the server answers
      await this.refresh();
    }
  }

  /** Ask the server again. */
  async refresh(): Promise<void> {
    const path = this.path;
    if (path === null) {
      return;
    }
    try {
      const view = await this.api.view(path);
      if (path !== this.path) {
        return; // another notebook came to the front meanwhile
      }
      this.view = view;
      this.following = view.going_on ?? this.following;
      this.error = null;
    } catch (error) {
      this.error = wordsOf(error);
    }
    this.changed.emit();
    if (this.view?.workflow) {
      // Apart, since it may take seconds; without it nothing is called changed.
      const stale = await this.api.stale(path).catch(() => null);
      if (path === this.path) {
        this.stale = stale;
        this.changed.emit();
      }
    }
  }

  /** The notebook that the panel shows, if it is open. */
  get panel(): NotebookPanel | undefined {
    return this.tracker.find(panel => panel.context.path === this.path);
  }

  get isStage(): boolean {
    return !!this.view?.stage;
  }

  get form(): IForm {
    const path = this.path ?? '';
    if (!this._forms.has(path)) {
      this._forms.set(path, { open: false, scope: 'only', values: {} });
    }
    return this._forms.get(path)!;
  }

  setForm(change: Partial<IForm>): void {
    this._forms.set(this.path ?? '', { ...this.form, ...change });
    this.changed.emit();
  }

  /** Open the form for a new workflow or stage, for the file at `path`; null closes it. */
  make(kind: 'workflow' | 'stage' | null, path?: string): void {
    this.making = kind && { kind, path: path ?? this.path ?? '' };
    this.changed.emit();
    if (kind) {
      this.shell.activateById('dataflow-panel');
    }
  }

  /** What the form asks for. */
  wanted(): { path: string | null; scope: Scope; parameters: Record<string, string> } {
    const { values, scope } = this.form;
    const names = new Set(this.view?.fields.map(field => field.name));
    const given = Object.entries(values).filter(([name, text]) => text !== '' && names.has(name));
    return { path: this.path, scope, parameters: Object.fromEntries(given) };
  }

  /** Save the notebook, and start what the form asks for. */
  async run(): Promise<void> {
    this.starting = true;
    this.error = null;
    this.changed.emit();
    try {
      await this.save();
      const { run } = await this.api.post<{ run: string }>('running', { ...this.wanted(), run: newRun() });
      rememberRun(run);
      this.following = run;
    } catch (error) {
      this.error = wordsOf(error);
    }
    this.starting = false;
    this.changed.emit();
  }

  async save(): Promise<void> {
    const { context } = this.panel ?? {};
    if (context?.model.dirty) {
      await context.save();
    }
  }

  /** A run that the panel followed has ended; `opens` is whether its executed notebook may open. */
  async ended(run: string, opens: boolean): Promise<void> {
    await this.refresh();
    const done = this.view?.runs.find(one => one.run === run);
    const wanted = this.settings.openExecuted;
    const failed = done !== undefined && done.result !== 'succeeded';
    if (opens && done?.executed && (wanted === 'always' || (wanted === 'when it failed' && failed))) {
      await this.openExecuted(done);
    }
  }

  /** Put a run's values into the form. */
  useValues(run: IRun): void {
    const text = (value: unknown) => (typeof value === 'string' ? value : JSON.stringify(value));
    const values = Object.entries(run.values).map(([name, value]) => [name, text(value)]);
    this.setForm({ open: true, values: Object.fromEntries(values) });
  }

  async openExecuted(done: IRun | IStep): Promise<void> {
    if (done.executed) {
      await this.executed.open(done.executed, done.cell, beside(this.shell, this.panel));
    }
  }

  open(path: string): void {
    this.documents.openOrReveal(path);
  }
}
