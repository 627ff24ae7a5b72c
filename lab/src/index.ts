// The plugin: what DATAFLOW adds to JupyterLab.
import { ILabShell, ILayoutRestorer, JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, IThemeManager } from '@jupyterlab/apputils';
import { IEditorServices } from '@jupyterlab/codeeditor';
import { IDocumentManager } from '@jupyterlab/docmanager';
import { ILauncher } from '@jupyterlab/launcher';
import { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { runIcon } from '@jupyterlab/ui-components';
import { tryAgain } from './again';
import { Api } from './api';
import { addPages } from './document';
import { ExecutedNotebooks } from './executed';
import { addMaking } from './making';
import { DataflowPanel } from './panel';
import { addParameters } from './parameters';
import { watchRuns } from './progress';
import { Session } from './session';


const ID = 'dataflow-jupyterlab:plugin';

const plugin: JupyterFrontEndPlugin<void> = {
  id: ID,
  description: 'The workflow of a notebook: its steps, runs and problems.',
  autoStart: true,
  requires: [INotebookTracker, IDocumentManager, ILabShell, NotebookPanel.IContentFactory, IEditorServices, IRenderMimeRegistry],
  optional: [ILayoutRestorer, ISettingRegistry, ILauncher, ICommandPalette, IThemeManager],
  activate: (
    app: JupyterFrontEnd,
    tracker: INotebookTracker,
    documents: IDocumentManager,
    shell: ILabShell,
    contentFactory: NotebookPanel.IContentFactory,
    editors: IEditorServices,
    rendermime: IRenderMimeRegistry,
    restorer: ILayoutRestorer | null,
    registry: ISettingRegistry | null,
    launcher: ILauncher | null,
    palette: ICommandPalette | null,
    themes: IThemeManager | null
  ) => {
    const executed = new ExecutedNotebooks(app, documents, contentFactory, editors, rendermime, restorer);
    const api = new Api(app.serviceManager.serverSettings);
    const session = new Session(api, app.commands, tracker, documents, shell, executed);
    const panel = new DataflowPanel(session);
    panel.title.icon = runIcon;
    shell.add(panel, 'right', { rank: 50, type: 'DATAFLOW' });
    restorer?.add(panel, panel.id);

    app.commands.addCommand('dataflow:run-stage', {
      label: 'Run as Stage',
      caption: 'Run this notebook as a stage of its workflow, with parameters of its own',
      icon: args => (args.toolbar ? undefined : runIcon),
      describedBy: { args: { type: 'object', properties: {} } },
      isVisible: () => session.isStage,
      isEnabled: () => session.isStage,
      execute: () => {
        session.setForm({ open: true });
        shell.activateById(panel.id);
      }
    });
    app.commands.addCommand('dataflow:next-problem', {
      label: 'Next Problem of the Stage',
      caption: 'Go to the next line of this notebook that is wrong',
      describedBy: { args: { type: 'object', properties: {} } },
      isVisible: () => session.isStage,
      isEnabled: () => !!session.problems.found?.length,
      execute: () => session.problems.next()
    });
    addMaking(app, session, launcher, palette);
    addParameters(app, tracker, palette);
    addPages(app, session, themes, restorer);
    app.commands.addCommand('dataflow:try-again', {
      label: 'Try Again as It Was',
      caption: "A copy of this notebook with its last run's parameters, on the data as it was",
      describedBy: { args: { type: 'object', properties: { run: { type: 'string' } } } },
      isVisible: () => session.isStage,
      isEnabled: () => session.isStage && session.view!.runs.some(run => run.executed),
      execute: args => {
        shell.activateById(panel.id);
        return tryAgain(session, (args.run as string) ?? session.view!.runs.find(run => run.executed)!.run);
      }
    });
    for (const name of ['run-stage', 'next-problem', 'compare', 'compare-good', 'tables', 'try-again']) {
      palette?.addItem({ command: `dataflow:${name}`, category: 'DATAFLOW' });
    }
    let wasStage = false;
    session.changed.connect(() => {
      if (wasStage !== session.isStage) {
        wasStage = session.isStage;
        // Each by its name: the buttons of toolbars hear of nothing else.
        app.commands.listCommands().filter(id => id.startsWith('dataflow:')).forEach(id => app.commands.notifyCommandChanged(id));
      }
    });

    watchRuns(app.serviceManager.events, session);
    void registry?.load(ID).then(settings => {
      const read = () => {
        Object.assign(session.settings, settings.composite);
        session.problems.ask();
      };
      settings.changed.connect(read);
      read();
    });
    void app.restored.then(() => session.follow());
  }
};

export default plugin;
