// The cell with a notebook's parameters: a tag that papermill knows, and a badge that shows it.
import { JupyterFrontEnd } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { ICellModel } from '@jupyterlab/cells';
import { INotebookTracker, Notebook, NotebookPanel } from '@jupyterlab/notebook';
import { tagIcon } from '@jupyterlab/ui-components';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';

export const PARAMETERS = 'parameters';
const COMMAND = 'dataflow:mark-parameters';

/** What a cell is tagged with. */
export const tagsOf = (cell: ICellModel): string[] => (cell.getMetadata('tags') as string[] | undefined) ?? [];

/** Whether a cell is the one with the notebook's parameters. */
function isParameters(cell: ICellModel | undefined): boolean {
  return cell?.type === 'code' && tagsOf(cell).includes(PARAMETERS);
}

/** Make a cell the one with the parameters, or no longer; a notebook has one. */
function toggleParameters(notebook: Notebook, chosen: ICellModel): void {
  const wanted = !isParameters(chosen);
  notebook.model!.sharedModel.transact(() => {
    for (const cell of notebook.model!.cells) {
      const tags = tagsOf(cell).filter(tag => tag !== PARAMETERS);
      if (cell === chosen && wanted) {
        cell.setMetadata('tags', [...tags, PARAMETERS]);
      } else if (tags.length > 0) {
        cell.setMetadata('tags', tags);
      } else {
        cell.deleteMetadata('tags');
      }
    }
  });
}

/** Show which cell has the parameters. */
async function badge(panel: NotebookPanel): Promise<void> {
  await panel.revealed;
  const paint = () => {
    for (const cell of panel.content.widgets) {
      cell.toggleClass('df-mod-parameters', isParameters(cell.model));
    }
  };
  panel.content.model?.contentChanged.connect(paint);
  panel.content.model?.cells.changed.connect(paint);
  paint();
}

/** The command that sets the tag, and a badge at the cell that has it. */
export function addParameters(app: JupyterFrontEnd, tracker: INotebookTracker, palette: ICommandPalette | null): void {
  /** The cell that is meant: of a context menu the one below the pointer, which may not be active. */
  const meant = (args: ReadonlyPartialJSONObject): ICellModel | undefined => {
    const notebook = tracker.currentWidget === app.shell.currentWidget ? tracker.currentWidget?.content : undefined;
    const node = args.contextMenu ? app.contextMenuHitTest(one => one.classList.contains('jp-Cell')) : undefined;
    const cell = args.contextMenu ? notebook?.widgets.find(one => one.node === node) : notebook?.activeCell;
    return cell?.model.type === 'code' ? cell.model : undefined;
  };
  app.commands.addCommand(COMMAND, {
    label: 'Mark Cell as Parameters',
    caption: 'Runs may set what this cell assigns; a notebook has one such cell',
    icon: args => (args.contextMenu ? undefined : tagIcon), // a tick takes its place there
    describedBy: { args: { type: 'object', properties: { contextMenu: { type: 'boolean' } } } },
    isVisible: args => !!meant(args),
    isEnabled: args => !!meant(args),
    isToggled: args => isParameters(meant(args)),
    execute: args => {
      const cell = meant(args);
      if (cell) {
        toggleParameters(tracker.currentWidget!.content, cell);
        app.commands.notifyCommandChanged(COMMAND);
      }
    }
  });
  palette?.addItem({ command: COMMAND, category: 'DATAFLOW' });
  tracker.activeCellChanged.connect(() => app.commands.notifyCommandChanged(COMMAND));
  tracker.widgetAdded.connect((_, panel) => void badge(panel));
}
