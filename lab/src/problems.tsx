// Problems while writing: what the server finds in the notebook in front, a second after a key.
import { MarkdownCell } from '@jupyterlab/cells';
import { CodeEditor } from '@jupyterlab/codeeditor';
import { IDocumentWidget } from '@jupyterlab/docregistry';
import { Notebook, NotebookActions, NotebookPanel } from '@jupyterlab/notebook';
import { Widget } from '@lumino/widgets';
import * as React from 'react';
import { IFix, IProblem, wordsOf } from './api';
import { mark, placeOf, startOf } from './marks';
import { PARAMETERS, tagsOf } from './parameters';
import type { Session } from './session';

const WAIT = 1000; // milliseconds after a key

export interface IFound extends IProblem {
  severity: 'error' | 'warning';
  /** The path of the file, if that is not the notebook. */
  file: string | null;
}

/** A problem with the id of its cell, which stays when cells are moved. */
export interface IPlaced extends IFound {
  id: string | null;
}

/** Text that is shared with an editor, so that what changes it can be undone there. */
interface ISource {
  getSource(): string;
  updateSource(start: number, end: number, text: string): void;
}

function replaceIn(source: ISource, line: number, fix: IFix): boolean {
  const lines = source.getSource().split('\n');
  const at = placeOf(fix, lines[line - 1] ?? '');
  if (at === null) {
    return false; // somebody was faster
  }
  const start = startOf(line, lines) + at;
  source.updateSource(start, start + fix.old.length, fix.new);
  return true;
}

export class Problems {
  /** Null where nothing is known: before the first answer, and for notebooks that are no stages. */
  found: IPlaced[] | null = null;
  error: string | null = null;
  private _timer = 0;
  private _isAsking = false;
  private _isStale = false;
  private _view: unknown = null;
  private _panel: NotebookPanel | null = null;

  constructor(readonly session: Session) {
    const { tracker, shell } = session;
    const watch = (panel: NotebookPanel) =>
      panel.context.ready.then(() => {
        panel.context.model.contentChanged.connect(() => panel === tracker.currentWidget && this.ask(WAIT));
        this.ask(); // what the panel shows may have been known before the notebook was
      });
    tracker.forEach(panel => void watch(panel));
    tracker.widgetAdded.connect((_, panel) => void watch(panel));
    // Back from config.yaml, say.
    shell.currentChanged.connect((_, { newValue }) => newValue === tracker.currentWidget && this.ask());
    session.changed.connect(() => {
      if (this._view !== session.view) {
        this._view = session.view;
        this.ask();
      }
    });
  }

  /** Ask the server, after some milliseconds in which nobody asks again. */
  ask(after = 0): void {
    window.clearTimeout(this._timer);
    this._timer = window.setTimeout(() => void this._ask(), after);
  }

  private async _ask(): Promise<void> {
    const { session } = this;
    const panel = session.tracker.currentWidget;
    if (!session.view) {
      return; // it is being asked for
    }
    const isWanted = session.settings.liveProblems && (session.isStage || !!session.view.broken);
    if (!panel?.context.isReady || panel.context.path !== session.path || !isWanted) {
      if (this._panel && (!isWanted || this._panel.isDisposed)) {
        this._show(this._panel, null);
      }
      return;
    }
    if (this._isAsking) {
      this._isStale = true;
      return;
    }
    this._isAsking = true;
    this._isStale = false;
    const { path } = panel.context;
    const cells = panel.context.model.sharedModel.cells;
    const ids = cells.map(cell => cell.getId());
    const content = {
      cells: cells.map(cell => ({
        cell_type: cell.cell_type,
        source: cell.getSource(),
        metadata: { tags: cell.getMetadata('tags') ?? [] }
      }))
    };
    try {
      const { problems } = await session.api.post<{ problems: IFound[] | null }>('problems', { path, content });
      this.error = null;
      if (!panel.isDisposed && panel.context.path === path) {
        this._show(panel, problems && problems.map(one => ({ ...one, id: one.cell === null ? null : ids[one.cell - 1] ?? null })));
      }
    } catch (error) {
      this.error = wordsOf(error);
      session.changed.emit();
    }
    this._isAsking = false;
    if (this._isStale) {
      this.ask();
    }
  }

  private _show(panel: NotebookPanel, found: IPlaced[] | null): void {
    this._panel = found ? panel : null;
    if (!panel.isDisposed) {
      mark(panel.content, found ?? [], problem => void this.repair(problem));
    }
    if (panel.context.path === this.session.path) {
      this.found = found;
    }
    this.session.changed.emit();
  }

  /** Show a problem's cell, or its file, with the cursor in its line. */
  async goTo(problem: IPlaced): Promise<void> {
    const { documents, shell } = this.session;
    if (problem.file) {
      const widget = documents.openOrReveal(problem.file);
      await widget?.context.ready;
      await widget?.revealed;
      show((widget?.content as { editor?: CodeEditor.IEditor } | undefined)?.editor, problem.line);
      return;
    }
    const panel = this._panel;
    if (!panel || panel.isDisposed) {
      return;
    }
    shell.activateById(panel.id);
    const notebook = panel.content;
    const index = indexOf(notebook, problem.id);
    if (index < 0) {
      return;
    }
    notebook.deselectAll();
    notebook.activeCellIndex = index;
    await notebook.scrollToItem(index);
    const cell = notebook.widgets[index];
    await cell.ready;
    cell.inputHidden = false;
    if (cell instanceof MarkdownCell) {
      cell.rendered = false;
    }
    if (problem.line !== null) {
      notebook.mode = 'edit';
      show(cell.editor, problem.line);
    }
  }

  /** The problem after the cursor's, or the first. */
  async next(): Promise<void> {
    const notebook = this._panel?.content;
    const all = (this.found ?? []).filter(one => one.id !== null);
    if (!notebook || all.length === 0) {
      return;
    }
    const place = (one: IPlaced) => indexOf(notebook, one.id) * 1e6 + (one.line ?? 0);
    const line = notebook.mode === 'edit' ? (notebook.activeCell?.editor?.getCursorPosition().line ?? -1) + 1 : 0;
    const here = notebook.activeCellIndex * 1e6 + line;
    all.sort((one, other) => place(one) - place(other));
    await this.goTo(all.find(one => place(one) > here) ?? all[0]);
  }

  /** Do what repairs a problem; it can be undone where it is done. */
  async repair(problem: IPlaced): Promise<void> {
    const { fix, line, file, id } = problem;
    if (!fix) {
      return;
    }
    if (file) {
      await this._repairFile(file, line!, fix);
      return;
    }
    const notebook = this._panel?.content;
    const index = notebook ? indexOf(notebook, id) : -1;
    if (!notebook || index < 0) {
      return;
    }
    const { model } = notebook.widgets[index];
    if (fix.kind === 'replace') {
      replaceIn(model.sharedModel, line!, fix);
    } else if (fix.kind === 'tag') {
      model.setMetadata('tags', [...tagsOf(model), PARAMETERS]);
    }
    await this.goTo(problem);
    if (fix.kind === 'delete') {
      NotebookActions.deleteCells(notebook); // the active one
    }
    this.ask();
  }

  private async _repairFile(file: string, line: number, fix: IFix): Promise<void> {
    const widget = this.session.documents.openOrReveal(file) as (Widget & IDocumentWidget) | undefined;
    if (!widget) {
      return;
    }
    const { context } = widget;
    await context.ready;
    await widget.revealed;
    // What somebody else is writing there is saved by them.
    const isClean = !context.model.dirty;
    const isDone = replaceIn(context.model.sharedModel as unknown as ISource, line, fix);
    show((widget.content as { editor?: CodeEditor.IEditor }).editor, line);
    if (isDone && isClean) {
      await context.save();
      await this.session.refresh();
    }
  }
}

function indexOf(notebook: Notebook, id: string | null): number {
  return notebook.widgets.findIndex(cell => cell.model.id === id);
}

function show(editor: CodeEditor.IEditor | null | undefined, line: number | null): void {
  if (editor && line !== null && line <= editor.lineCount) {
    const text = editor.getLine(line - 1) ?? '';
    const position = { line: line - 1, column: text.length - text.trimStart().length };
    editor.focus();
    editor.setCursorPosition(position);
    editor.revealPosition(position);
  }
}

/** The place of a problem in words; null if that is the notebook as a whole. */
function placeIn({ cell, line, file, where }: IFound): string | null {
  return file ? where!.split('/').pop()! : cell === null ? null : `cell ${cell}${line ? `, line ${line}` : ''}`;
}

/** The list in the panel. */
export function ProblemList(props: { session: Session }): JSX.Element {
  const { problems } = props.session;
  const { found, error } = problems;
  return (
    <>
      {error && <p className="df-Error" role="alert">Not checked: {error}</p>}
      {found?.length === 0 && !props.session.view?.broken && <p className="df-Soft">None found.</p>}
      <ul className="df-Plain">
        {found?.map((one, index) => (
          <li key={index} className="df-Problem">
            <span className={`df-Sign ${one.severity === 'error' ? 'df-Error' : 'df-Warning'}`} role="img" aria-label={one.severity}>
              {one.severity === 'error' ? '✗' : '⚠'}
            </span>
            <div>
              {placeIn(one) && (
                <>
                  <button className="df-Link" title="Show the place" disabled={one.cell === null && !one.file} onClick={() => void problems.goTo(one)}>
                    {placeIn(one)}
                  </button>
                  :{' '}
                </>
              )}
              {one.message}
              {one.hint && <div className="df-Soft">→ {one.hint}</div>}
              {one.fix && (
                <button className="jp-mod-styled df-Fix" onClick={() => void problems.repair(one)}>
                  {one.fix.label}
                  {one.file && ` in ${one.file.split('/').pop()}`}
                </button>
              )}
            </div>
          </li>
        ))}
      </ul>
    </>
  );
}
