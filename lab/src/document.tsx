// Pages of the server beside a notebook: a comparison with a run, the tables of its stage.
import { ILayoutRestorer, JupyterFrontEnd } from '@jupyterlab/application';
import { IThemeManager, MainAreaWidget, WidgetTracker } from '@jupyterlab/apputils';
import { NotebookPanel } from '@jupyterlab/notebook';
import { ReactWidget } from '@jupyterlab/ui-components';
import { Message } from '@lumino/messaging';
import { Signal } from '@lumino/signaling';
import * as React from 'react';
import { wordsOf } from './api';
import { beside } from './executed';
import { Session } from './session';

type Kind = 'compare' | 'tables';

/** A run to choose. */
interface IOption {
  run: string;
  short: string;
  status: string;
  result: string;
  started_at: string;
}

interface IAnswer {
  html: string;
  stage: string;
  before?: string;
  after?: string | null;
  runs?: IOption[];
}

/** What is compared. */
interface IWanted {
  /** A run's id, `last`, or `good`: the last that succeeded. */
  before: string;
  /** A run's id; null for the notebook in the editor. */
  after: string | null;
  /** With what is noise. */
  everything: boolean;
}

const HERE = 'this notebook';

/** What a page is made for: the light or the dark theme. */
type Theme = 'light' | 'dark';

/** The page for another theme: only its first tag says which. */
function themed(html: string, theme: Theme): string {
  return html.replace(/ data-theme="\w+"/, ` data-theme="${theme}"`);
}

function name(run: IOption): string {
  const time = new Date(run.started_at).toLocaleString([], { dateStyle: 'short', timeStyle: 'short' });
  return `${run.short}, ${time}, ${run.status}`;
}

class Page extends ReactWidget {
  /** Something else is wanted: to be kept over a reload of JupyterLab. */
  readonly chosen = new Signal<this, void>(this);
  private _answer: IAnswer | null = null;
  private _error: string | null = null;
  private _asked = 0;
  private _loading = false;
  private _isOld = false;
  private _ended: string;

  constructor(
    readonly kind: Kind,
    public path: string,
    readonly session: Session,
    public wanted: IWanted,
    private _theme: Theme
  ) {
    super();
    this.addClass('df-Page');
    this._ended = this._runs();
    session.changed.connect(this._look, this);
    session.tracker.forEach(panel => this._follow(session.tracker, panel));
    session.tracker.widgetAdded.connect(this._follow, this);
  }

  /** The notebook, if it is open. */
  get notebook(): NotebookPanel | undefined {
    return this.session.tracker.find(panel => panel.context.path === this.path);
  }

  set theme(theme: Theme) {
    this._theme = theme;
    this.update();
  }

  /** Ask for something else. */
  choose(change: Partial<IWanted>): void {
    this.wanted = { ...this.wanted, ...change };
    this.chosen.emit();
    void this.load();
  }

  /** What is shown may have changed: ask again, when somebody looks at it. */
  outdated(): void {
    if (this.isVisible) {
      void this.load();
    } else {
      this._isOld = true;
    }
  }

  async load(): Promise<void> {
    const asked = ++this._asked;
    this._isOld = false;
    this._loading = true;
    this.update();
    const body: Record<string, unknown> = { path: this.path, theme: this._theme };
    try {
      if (this.kind === 'compare') {
        Object.assign(body, this.wanted);
        if (this.wanted.after === null) {
          await this.notebook?.context.ready; // until then it is shown as an empty one
          body.notebook = this.notebook?.model?.toJSON();
        }
      }
      const answer = await this.session.api.post<IAnswer>(this.kind, body);
      if (asked !== this._asked) {
        return; // somebody chose something else meanwhile
      }
      this._answer = answer;
      this._error = null;
    } catch (error) {
      if (asked !== this._asked) {
        return;
      }
      this._error = wordsOf(error);
    }
    this._loading = false;
    this.update();
  }

  protected onAfterShow(message: Message): void {
    super.onAfterShow(message);
    if (this._isOld) {
      void this.load();
    }
  }

  private _follow(_: unknown, panel: NotebookPanel): void {
    if (panel.context.path === this.path) {
      panel.context.saveState.connect(this._saved, this);
      panel.context.pathChanged.connect(this._renamed, this);
    }
  }

  private _saved(_: unknown, state: string): void {
    if (state === 'completed') {
      this.outdated();
    }
  }

  private _renamed(_: unknown, path: string): void {
    this.path = path;
  }

  /** The runs that have ended, of the notebook that the panel shows if it is this one. */
  private _runs(): string {
    const { path, view } = this.session;
    if (path !== this.path || !view) {
      return this._ended ?? '';
    }
    return view.runs.map(run => `${run.run} ${run.status}`).join();
  }

  private _look(): void {
    const runs = this._runs();
    if (runs !== this._ended) {
      const first = this._ended === '';
      this._ended = runs;
      if (!first) {
        this.outdated();
      }
    }
  }

  protected render(): JSX.Element {
    const html = this._answer && themed(this._answer.html, this._theme);
    const words = this.kind === 'compare' ? 'Comparing…' : 'Reading the tables…';
    return (
      <>
        <div className="df-PageBar" role="toolbar" aria-label="What is shown">
          {this.kind === 'compare' && this._choice()}
          <button className="df-Link" onClick={() => void this.load()}>Refresh</button>
          <span role="status" className="df-Soft">{this._loading ? words : ''}</span>
        </div>
        {this._error && <p className="df-Error df-PageError" role="alert">{this._error}</p>}
        {html && (
          // Nothing in it is run, and it is of no origin; links open tabs of their own.
          <iframe
            className={this._error ? 'df-is-old' : ''}
            title={this.title.label}
            sandbox="allow-popups allow-popups-to-escape-sandbox"
            srcDoc={html}
          />
        )}
      </>
    );
  }

  /** Choose what the run is compared with; a run is none with itself, but with the last good one. */
  private _beside(after: string | null): void {
    const before = this._answer?.before ?? this.wanted.before;
    this.choose({ before: before === after ? 'good' : before, after });
  }

  private _choice(): JSX.Element {
    const { before, after, runs = [] } = this._answer ?? {};
    const options = runs.map(run => <option key={run.run} value={run.run}>{name(run)}</option>);
    const chosen = (id: string) => runs.some(run => run.run === id) || <option value={id}>{id.slice(0, 8)}</option>;
    return (
      <>
        <label>
          Run{' '}
          <select className="jp-mod-styled" aria-label="Run" value={before ?? ''} onChange={event => this.choose({ before: event.target.value })}>
            {options}
            {before && chosen(before) !== true && chosen(before)}
          </select>
        </label>
        <label>
          beside{' '}
          <select
            className="jp-mod-styled"
            aria-label="Beside"
            value={after ?? ''}
            onChange={event => this._beside(event.target.value || null)}
          >
            <option value="">{HERE}</option>
            {options}
            {after && chosen(after) !== true && chosen(after)}
          </select>
        </label>
        <label title="What differs between any two runs: times, addresses, ids">
          <input
            type="checkbox"
            checked={this.wanted.everything}
            onChange={event => this.choose({ before: before ?? this.wanted.before, everything: event.target.checked })}
          />{' '}
          with noise
        </label>
      </>
    );
  }
}

/** The commands that open pages, one of each kind for a notebook. */
export function addPages(
  app: JupyterFrontEnd,
  session: Session,
  themes: IThemeManager | null,
  restorer: ILayoutRestorer | null
): void {
  const tracker = new WidgetTracker<MainAreaWidget<Page>>({ namespace: 'dataflow-pages' });
  const theme = (): Theme => (themes?.theme && !themes.isLight(themes.theme) ? 'dark' : 'light');
  themes?.themeChanged.connect(() => tracker.forEach(widget => (widget.content.theme = theme())));

  const show = (kind: Kind, path: string, wanted: Partial<IWanted>) => {
    const all = { before: 'last', after: null, everything: false, ...wanted };
    const open = tracker.find(({ content }) => content.kind === kind && content.path === path);
    if (open) {
      open.content.choose({ before: all.before, after: all.after });
      app.shell.activateById(open.id);
      return;
    }
    const content = new Page(kind, path, session, all, theme());
    const widget = new MainAreaWidget({ content });
    widget.id = `dataflow-${kind}:${path}`;
    const file = path.split('/').pop()!.replace(/\.ipynb$/, '');
    widget.title.label = content.title.label = kind === 'compare' ? `${file}: comparison` : `${file}: tables`;
    widget.title.caption = path;
    widget.title.closable = true;
    app.shell.add(widget, 'main', beside(session.shell, content.notebook));
    app.shell.activateById(widget.id);
    void tracker.add(widget);
    content.chosen.connect(() => void tracker.save(widget));
    void content.load();
  };

  const describedBy = {
    args: {
      type: 'object',
      properties: {
        path: { type: 'string', description: 'the notebook; that of the panel by default' },
        run: { type: 'string', description: "a run's id, last, or good" },
        after: { type: 'string', description: 'the id of the run to compare it with' }
      }
    }
  } as const;
  const add = (id: string, label: string, caption: string, kind: Kind, before: string) =>
    app.commands.addCommand(id, {
      label,
      caption,
      describedBy,
      isVisible: () => session.isStage,
      isEnabled: args => !!args.path || session.isStage,
      execute: args =>
        show(kind, (args.path as string) ?? session.path!, {
          before: (args.run as string) ?? before,
          after: (args.after as string) ?? null
        })
    });
  add('dataflow:compare', 'Compare with Last Run', 'What differs between the notebook and its last run', 'compare', 'last');
  add('dataflow:compare-good', 'Compare with Last Good Run', 'What differs between the notebook and the last run that succeeded', 'compare', 'good');
  app.commands.addCommand('dataflow:compare-runs', {
    label: 'Compare a Run with the Last Good One before It',
    describedBy,
    isVisible: () => false,
    isEnabled: args => !!args.run && session.isStage,
    execute: args => show('compare', session.path!, { before: 'good', after: args.run as string })
  });
  add('dataflow:tables', 'Show Tables', "The stage's tables: first rows, and what columns hold", 'tables', 'last');

  void restorer?.restore(tracker, {
    command: 'dataflow:page',
    args: ({ content }) => ({ kind: content.kind, path: content.path, ...content.wanted }),
    name: widget => widget.id
  });
  app.commands.addCommand('dataflow:page', {
    describedBy: { args: { type: 'object' } },
    isVisible: () => false,
    execute: args => show(args.kind as Kind, args.path as string, args as Partial<IWanted>)
  });
}
