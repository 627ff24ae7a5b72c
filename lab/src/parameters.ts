// The cell with a notebook's parameters: a tag that papermill knows, and a badge that shows it.
import { JupyterFrontEnd } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { ICellModel } from '@jupyterlab/cells';
import { INotebookTracker, Notebook, NotebookPanel } from '@jupyterlab/notebook';
import { tagIcon } from '@jupyterlab/ui-components';

const PARAMETERS = 'parameters';
const COMMAND = 'dataflow:mark-parameters';

const tagsOf = (cell: ICellModel): string[] => (cell.getMetadata('tags') as string[] | undefined) ?? [];

/** Whether a cell is the one with the notebook's parameters. */
function isParameters(cell: ICellModel | undefined): boolean {
  return cell?.type === 'code' && tagsOf(cell).includes(PARAMETERS);
}

/** Make the active cell the one with the parameters, or no longer; a notebook has one. */
function toggleParameters(notebook: Notebook): void {
  const chosen = notebook.activeCell?.model;
  if (chosen?.type !== 'code' || !notebook.model) {
    return;
  }
  const wanted = !isParameters(chosen);
  notebook.model.sharedModel.transact(() => {
    for (const cell of notebook.model!.cells) {
      const tags = tagsOf(cell).filter(tag => tag !== PARAMETERS);
      if (cell === chosen && wanted) {
        cell.setMetadata('tags', [...tags, PARAMETERS]);
      } else if (tags.length !== tagsOf(cell).length) {
        tags.length > 0 ? cell.setMetadata('tags', tags) : cell.deleteMetadata('tags');
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
  const active = () => (tracker.currentWidget === app.shell.currentWidget ? tracker.activeCell?.model : undefined);
  app.commands.addCommand(COMMAND, {
    label: 'Mark Cell as Parameters',
    caption: 'Runs may set what this cell assigns; a notebook has one such cell',
    icon: tagIcon,
    describedBy: { args: { type: 'object', properties: {} } },
    isVisible: () => active()?.type === 'code',
    isEnabled: () => active()?.type === 'code',
    isToggled: () => isParameters(active()),
    execute: () => {
      toggleParameters(tracker.currentWidget!.content);
      app.commands.notifyCommandChanged(COMMAND);
    }
  });
  palette?.addItem({ command: COMMAND, category: 'DATAFLOW' });
  tracker.activeCellChanged.connect(() => app.commands.notifyCommandChanged(COMMAND));
  tracker.widgetAdded.connect((_, panel) => void badge(panel));
}
