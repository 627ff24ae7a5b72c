"""Run one stage for a test: the real notebook and kernel, and its own small warehouse."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflow.base.sql import literal
from dataflow.base.words import nearest
from dataflow.engine.secrets import Scrubber
from dataflow.errors import ConfigurationError
from dataflow.project import Project
from dataflow.shared.db import get_duckdb_connection, write_table
from dataflow.stages.execute import StageOutcome, execute_stage
from dataflow.testing.stage_run import StageFailed, StageRun
from dataflow.variables import secrets_of

if TYPE_CHECKING:
    import pandas as pd

    from dataflow.stages.notebook import Stage
    from dataflow.workflows.model import Workflow

READERS = {
    ".csv": "read_csv",
    ".parquet": "read_parquet",
    ".json": "read_json",
    ".jsonl": "read_json",
    ".ndjson": "read_json",
}


class StageRunner:
    """The object that the fixture `run_stage` provides: call it to run a stage.

    Args:
        project: the project whose notebooks are run; nothing in it is written.
        folder: where the test's warehouse and executed notebooks go.
        files: the folder that relative paths of tables start from.
    """

    def __init__(self, project: Project, folder: Path, *, files: Path) -> None:
        self.project = project
        self.folder = folder
        self.warehouse = folder / "warehouse" / "dataflow.duckdb"
        self._files = files
        self._count = 0

    def __call__(
        self,
        workflow: str,
        stage: str,
        *,
        parameters: Mapping[str, Any] | None = None,
        tables: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        expect_failure: bool = False,
    ) -> StageRun:
        """Run `stage` of `workflow` as a run would: same kernel, same checks of parameters.

        Args:
            workflow: the workflow.
            stage: the stage.
            parameters: values that override config.yaml and the notebook's defaults.
            tables: put into the warehouse first, by `table` (in `<workflow>_raw`) or
                `schema.table`: a data frame, an Arrow table, a list of dicts, or the path of a
                CSV, Parquet or JSON file (a relative one starts from the test's folder).
            environment: environment variables for the stage, `${VAR}` in config.yaml included.
            expect_failure: a failing stage is returned, and one that succeeds is an error.

        Raises:
            StageFailed: a cell raised, or a check of severity "error" did not pass; with
                `expect_failure`, neither happened.
            ConfigurationError: there is no such workflow or stage, or the workflow is not valid.
            ParameterError: the parameters do not fit the notebook.
        """
        __tracebackhide__ = True  # a failing test shows its own line, and the cell
        from dataflow.workflows.registry import get_workflow

        found = get_workflow(self.project, workflow)
        chosen = _stage_of(found, stage)
        with self._surroundings(found.id, environment or {}):
            for name, data in (tables or {}).items():
                self._put(name, data)
            outcome = self._execute(chosen, parameters or {})
        run = StageRun.of(found.id, chosen.name, outcome, self._query)
        if expect_failure and run.failure is None:
            raise StageFailed(
                f"stage {run.stage} of {run.workflow_id} was expected to fail; it {run.status}", run
            )
        if not expect_failure and run.failure is not None:
            raise StageFailed(run.failure, run, f"Executed notebook: {run.path}")
        return run

    def _execute(self, stage: Stage, parameters: Mapping[str, Any]) -> StageOutcome:
        self._count += 1
        values = {**stage.parameters, **parameters}
        output = self.folder / f"{self._count}-{stage.workflow_id}-{stage.name}.ipynb"
        output.parent.mkdir(parents=True, exist_ok=True)
        return execute_stage(
            self.project,
            stage,
            values,
            run_id=f"test-{self._count}",
            output=output,
            scrubber=Scrubber(secrets_of(stage.notebook.parent, values)),
        )

    def _put(self, name: str, data: Any) -> None:
        with get_duckdb_connection(database="working", project=self.project) as conn:
            if isinstance(data, (str, Path)):
                data = conn.sql(self._read_file(name, Path(data)))
            elif isinstance(data, (list, tuple)) and not data:
                raise ConfigurationError(
                    f"table `{name}` has no rows, and therefore no columns",
                    hint="Give an empty table as a data frame with typed columns.",
                )
            write_table(conn, data, name, mode="replace", on_schema_change="replace")

    def _read_file(self, name: str, path: Path) -> str:
        path = self._files / path
        reader = READERS.get(path.suffix.lower())
        if reader is None:
            raise ConfigurationError(
                f"table `{name}`: {path.name} cannot be read as a table",
                hint=f"Use one of {', '.join(READERS)}.",
            )
        if not path.is_file():
            raise ConfigurationError(
                f"table `{name}`: there is no file {path}",
                hint="A relative path starts from the test's folder.",
            )
        return f"SELECT * FROM {reader}({literal(str(path))})"

    def _query(self, sql: str) -> pd.DataFrame:
        with (
            self._surroundings(None, {}),
            get_duckdb_connection(True, database="working", project=self.project) as conn,
        ):
            return conn.sql(sql).df()

    @contextmanager
    def _surroundings(
        self, workflow_id: str | None, environment: Mapping[str, str]
    ) -> Iterator[None]:
        """The environment of a stage: `.env`, the test's own variables, the test's warehouse."""
        from dotenv import dotenv_values

        before = dict(os.environ)
        try:
            for name, value in dotenv_values(self.project.root / ".env").items():
                os.environ.setdefault(name, value or "")
            os.environ.update(environment)
            os.environ["DATAFLOW_WAREHOUSE"] = str(self.warehouse)
            if workflow_id is not None:
                os.environ["DATAFLOW_WORKFLOW"] = workflow_id
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def _stage_of(workflow: Workflow, name: str) -> Stage:
    try:
        return workflow.stage(name)
    except KeyError:
        raise ConfigurationError(
            f"workflow {workflow.id} has no stage `{name}`",
            hint=nearest(name, [stage.name for stage in workflow.stages]),
        ) from None
