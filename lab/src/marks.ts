// Problems at the cells they are about: an underline at the line, and a note below the code.
// Both live in the widgets alone; nothing of them is in the notebook.
import { setDiagnostics, type Diagnostic } from '@codemirror/lint';
import { Cell } from '@jupyterlab/cells';
import { CodeMirrorEditor } from '@jupyterlab/codemirror';
import { Notebook } from '@jupyterlab/notebook';
import { PanelLayout, Widget } from '@lumino/widgets';
import { IFix } from './api';
import { IPlaced } from './problems';

const CLASS = 'df-Note';
const BELOW_INPUT = 2; // behind the cell's header and input

/** Where the text that a fix replaces is in a line; null where that is not clear. */
export function placeOf(fix: IFix | null, line: string): number | null {
  if (fix?.kind !== 'replace') {
    return null;
  }
  const name = fix.old.replace(/[^\p{L}\p{N}_]/gu, '\\$&');
  const found = [...line.matchAll(new RegExp(`(?<![\\p{L}\\p{N}_])${name}(?![\\p{L}\\p{N}_])`, 'gu'))];
  return found.length === 1 ? found[0].index : null;
}

/** Where a line, from 1, begins in a text. */
export function startOf(line: number, lines: string[]): number {
  return lines.slice(0, line - 1).reduce((sum, before) => sum + before.length + 1, 0);
}

/** What the cells of notebooks are marked with, as far as anything is. */
const marked = new WeakMap<Cell, IPlaced[]>();

/** Show problems at the notebook's cells; those from before go away. */
export function mark(notebook: Notebook, problems: IPlaced[], repair: (problem: IPlaced) => void): void {
  for (const cell of notebook.widgets) {
    const own = problems.filter(problem => problem.id === cell.model.id);
    if (own.length > 0 || marked.has(cell)) {
      marked.set(cell, own);
      // A cell far below has no editor yet.
      void cell.ready.then(() => !cell.isDisposed && marked.get(cell) === own && show(cell, own, repair));
    }
  }
}

function show(cell: Cell, problems: IPlaced[], repair: (problem: IPlaced) => void): void {
  const layout = cell.layout as PanelLayout;
  const old = layout.widgets.find(widget => widget.hasClass(CLASS));
  const view = (cell.editor as CodeMirrorEditor | null)?.editor;
  if (problems.length === 0) {
    marked.delete(cell);
  }
  // Where it says the same, what has the focus keeps it.
  const text = JSON.stringify(problems);
  if (old?.node.dataset.problems !== text) {
    old?.dispose();
    if (problems.length > 0) {
      layout.insertWidget(BELOW_INPUT, note(problems, text, repair));
    }
  }
  view?.dispatch(setDiagnostics(view.state, problems.flatMap(one => underline(view.state.doc.toString(), one, repair))));
}

function underline(source: string, problem: IPlaced, repair: (problem: IPlaced) => void): Diagnostic[] {
  const lines = source.split('\n');
  if (problem.line === null || problem.line > lines.length) {
    return [];
  }
  const line = lines[problem.line - 1];
  const start = startOf(problem.line, lines);
  const { message, hint, severity, fix } = problem;
  const at = placeOf(fix, line);
  const from = at ?? line.length - line.trimStart().length;
  return [
    {
      from: start + from,
      to: start + (at === null ? line.trimEnd().length : from + fix!.old.length),
      severity,
      message: hint ? `${message}\n→ ${hint}` : message,
      markClass: `df-Underline df-is-${severity}`,
      actions: fix ? [{ name: fix.label, apply: () => repair(problem) }] : []
    }
  ].map(one => ({ ...one, to: Math.max(one.from, one.to) }));
}

function note(problems: IPlaced[], text: string, repair: (problem: IPlaced) => void): Widget {
  const widget = new Widget();
  widget.addClass(CLASS);
  widget.node.dataset.problems = text;
  widget.node.dataset.lmSuppressShortcuts = 'true'; // Enter and space press its buttons
  widget.node.setAttribute('role', 'note');
  for (const problem of problems) {
    const { severity, message, hint, line, fix } = problem;
    const row = document.createElement('div');
    row.className = severity === 'error' ? 'df-Error' : 'df-Warning';
    row.append(`${severity === 'error' ? '✗' : '⚠'} ${line ? `line ${line}: ` : ''}${message}`);
    if (hint) {
      const soft = document.createElement('span');
      soft.className = 'df-Soft';
      soft.textContent = ` → ${hint}`;
      row.append(soft);
    }
    if (fix) {
      const button = document.createElement('button');
      button.className = 'df-Link';
      button.textContent = fix.label;
      button.onclick = () => repair(problem);
      row.append(' ', button);
    }
    widget.node.append(row);
  }
  return widget;
}
