// What Jupyter's server answers below /dataflow/api (dataflow/lab/extension.py).
import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

/** What became of a step in a run. */
export interface IDone {
  run: string | null;
  status: string | null;
  started_at: string | null;
  ended_at: string | null;
  seconds: number | null;
  rows: Record<string, number>;
  error: string | null;
  /** The author's cell that failed, from 1. */
  cell: number | null;
  failed_checks: { name: string; severity: string }[];
  /** The executed notebook's path in the drive of runs. */
  executed: string | null;
}

export interface IStep extends IDone {
  name: string;
  kind: string;
  after: string[];
  /** The notebook's path, of a stage. */
  source: string | null;
}

export interface IRun extends IDone {
  run: string;
  short: string;
  /** How the whole run ended; `status` is that of the stage. */
  result: string;
  trigger: string | null;
  user: string | null;
  values: Record<string, unknown>;
}

export interface IField {
  name: string;
  annotation: string;
  help: string;
  widget: 'text' | 'choice' | 'number' | 'date' | 'datetime' | 'yaml';
  choices: string[];
  nullable: boolean;
  required: boolean;
  secret: boolean;
  otherwise: unknown;
  origin: string;
}

/** A change that repairs a problem for certain. */
export interface IFix {
  kind: 'replace' | 'delete' | 'tag';
  label: string;
  old: string;
  new: string;
}

export interface IProblem {
  message: string;
  hint: string | null;
  where: string | null;
  parameter: string | null;
  /** The cell's place in the notebook, from 1, and the line in it. */
  cell: number | null;
  line: number | null;
  fix: IFix | null;
}

export interface IWorkflow {
  id: string;
  title: string;
  stages: { name: string; path: string | null }[];
}

/** What the panel shows of a file; the fields of a workflow are there when it belongs to one. */
export interface IView {
  project: { home: string; name: string } | null;
  workflows: IWorkflow[];
  workflow: string | null;
  broken?: IProblem[];
  title: string;
  schedule: string | null;
  /** Pages of the dashboards' server, by the tile that leads there. */
  pages: { dashboards: string | null; runs: string };
  /** The path of config.yaml. */
  config: string;
  stage: string | null;
  steps: IStep[];
  fields: IField[];
  going_on: string | null;
  runs: IRun[];
}

export interface IPlan {
  steps: string[];
  publishes: boolean;
  review: boolean;
  builds_pages: boolean;
  problems: IProblem[];
}

/** An answer that says what is wrong with the request. */
export class Refused extends Error {
  constructor(
    message: string,
    readonly hint: string | null,
    readonly problems: IProblem[]
  ) {
    super(message);
  }
}

/** Requests to Jupyter's server, with its token. */
export class Api {
  constructor(readonly settings: ServerConnection.ISettings) {}

  view(path: string): Promise<IView> {
    return this.get('notebook', { path });
  }

  /** The address of a page of another service, which can be started there. */
  tile(name: string, home: string, page: string): string {
    const query = new URLSearchParams({ home, page });
    return `${URLExt.join(this.settings.baseUrl, 'dataflow', name)}?${query}`;
  }

  async stale(path: string): Promise<Set<string> | null> {
    const { stale } = await this.get<{ stale: string[] | null }>('stale', { path });
    return stale && new Set(stale);
  }

  plan(body: object): Promise<IPlan> {
    return this.post('plan', body);
  }

  get<T>(name: string, query: Record<string, string> = {}): Promise<T> {
    const text = new URLSearchParams(query).toString();
    return this._send(text ? `${name}?${text}` : name, {});
  }

  post<T>(name: string, body: object): Promise<T> {
    return this._send(name, { method: 'POST', body: JSON.stringify(body) });
  }

  delete<T>(name: string): Promise<T> {
    return this._send(name, { method: 'DELETE' });
  }

  private async _send<T>(name: string, init: RequestInit): Promise<T> {
    const url = URLExt.join(this.settings.baseUrl, 'dataflow/api', name);
    const response = await ServerConnection.makeRequest(url, init, this.settings);
    const text = await response.text();
    if (response.status === 422) {
      const { message, hint, problems } = JSON.parse(text);
      throw new Refused(message, hint, problems);
    }
    if (!response.ok) {
      throw new Error(`JupyterLab's server answered ${response.status} ${response.statusText}`);
    }
    return (text ? JSON.parse(text) : undefined) as T;
  }
}

/** What to tell people about an error. */
export function wordsOf(error: unknown): string {
  if (error instanceof Refused && error.hint) {
    return `${error.message} → ${error.hint}`;
  }
  if (error instanceof ServerConnection.NetworkError) {
    return "JupyterLab's server does not answer";
  }
  return error instanceof Error ? error.message : String(error);
}
