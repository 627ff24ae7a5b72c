// Executed notebooks: a view without a kernel, in which nothing can be changed.
import { ILabShell, ILayoutRestorer, JupyterFrontEnd } from '@jupyterlab/application';
import { WidgetTracker } from '@jupyterlab/apputils';
import { IEditorServices } from '@jupyterlab/codeeditor';
import { IDocumentManager } from '@jupyterlab/docmanager';
import { DocumentRegistry } from '@jupyterlab/docregistry';
import { NotebookPanel, NotebookWidgetFactory, StaticNotebook } from '@jupyterlab/notebook';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { Drive } from '@jupyterlab/services';
import { Widget } from '@lumino/widgets';
import { tagsOf } from './parameters';

const DRIVE = 'dataflow-runs';
const FACTORY = 'Executed notebook';
const DRAWN = [200, 800]; // milliseconds after which a new notebook is looked at again
const EXECUTED = 'df-Executed';
const INJECTED = 'injected-parameters';

/** Where something is opened beside a notebook: where such things are already, or at its right. */
export function beside(shell: ILabShell, panel?: Widget): DocumentRegistry.IOpenOptions {
  const open = [...shell.widgets('main')].filter(
    widget => widget.hasClass(EXECUTED) || widget.node.querySelector('.df-Page')
  );
  const other = open.find(widget => widget.isVisible) ?? open[0];
  return other ? { mode: 'tab-after', ref: other.id } : { mode: 'split-right', ref: panel?.id };
}

export class ExecutedNotebooks {
  private readonly _tracker = new WidgetTracker<NotebookPanel>({ namespace: 'dataflow-executed' });

  constructor(
    app: JupyterFrontEnd,
    private readonly _documents: IDocumentManager,
    contentFactory: NotebookPanel.IContentFactory,
    editors: IEditorServices,
    rendermime: IRenderMimeRegistry,
    restorer: ILayoutRestorer | null
  ) {
    const { contents, serverSettings } = app.serviceManager;
    contents.addDrive(new Drive({ name: DRIVE, apiEndpoint: 'dataflow/api/archive', serverSettings }));
    const { code, markdown, raw } = StaticNotebook.defaultEditorConfig;
    const factory = new NotebookWidgetFactory({
      name: FACTORY,
      fileTypes: ['notebook'],
      modelName: 'notebook',
      // The usual one would start a kernel for each.
      preferKernel: false,
      canStartKernel: false,
      readOnly: true,
      rendermime,
      contentFactory,
      mimeTypeService: editors.mimeTypeService,
      editorConfig: {
        code: { ...code, readOnly: true },
        markdown: { ...markdown, readOnly: true },
        raw: { ...raw, readOnly: true }
      },
      toolbarFactory: () => []
    });
    factory.widgetCreated.connect((_, panel) => {
      panel.addClass(EXECUTED);
      panel.title.caption = 'The executed notebook of a run. It cannot be changed.';
      void this._tracker.add(panel);
    });
    app.docRegistry.addWidgetFactory(factory);
    void restorer?.restore(this._tracker, {
      command: 'docmanager:open',
      args: panel => ({ path: panel.context.path, factory: FACTORY }),
      name: panel => panel.context.path
    });
  }

  /**
   * Open an executed notebook.
   *
   * @param path its path in the drive.
   * @param cell the author's cell to show, from 1.
   * @param options where it is opened.
   */
  async open(path: string, cell: number | null, options: DocumentRegistry.IOpenOptions): Promise<void> {
    const panel = this._documents.openOrReveal(`${DRIVE}:${path}`, FACTORY, undefined, options);
    if (!panel || cell === null) {
      return;
    }
    const { content, context } = panel as NotebookPanel;
    await Promise.all([context.ready, panel.revealed]);
    let number = 0;
    const index = content.widgets.findIndex(({ model }) => {
      // The cell with a run's parameters has no number of its own.
      const isInjected = tagsOf(model).includes(INJECTED);
      number += isInjected ? 0 : 1;
      return number === cell && !isInjected;
    });
    if (index < 0) {
      return;
    }
    content.activeCellIndex = index;
    // The cells above get their heights while they are drawn.
    for (const wait of [0, ...DRAWN]) {
      await new Promise(resolve => setTimeout(resolve, wait));
      await content.scrollToItem(index, 'start');
      content.widgets[index].node.querySelector('.jp-OutputArea')?.scrollIntoView({ block: 'nearest' });
    }
  }
}
