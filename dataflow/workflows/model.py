"""What `config.yaml` may contain, and the workflow and stages it becomes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from dataflow.base.sql import TableName, raw_schema, schemas_of
from dataflow.errors import Problem
from dataflow.project import Project
from dataflow.stages.notebook import Stage
from dataflow.workflows.ids import slug_of
from dataflow.workflows.schedule import in_words

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class _Strict(BaseModel):
    """Unknown keys are errors: a misspelt key must never be ignored silently."""

    model_config = ConfigDict(extra="forbid")


class _Open(BaseModel):
    """Known keys are checked; the author may add more for the notebooks to read."""

    model_config = ConfigDict(extra="allow")


@dataclass(frozen=True)
class Review:
    """When what a run made is published only after somebody has approved it.

    Args:
        rows: from which change of a table's rows on, as a share of the rows before (0.2 for 20 %);
            None if that does not matter.
        schema: whether any change of a table's columns matters.
        always: every run.
    """

    rows: float | None = None
    schema: bool = False
    always: bool = False


REVIEW_FORMS = "`review: required`, or `review: {on_change: {rows: 20%, schema: any}}`"


def _review(value: Any) -> Review | None:
    """What `review:` says."""
    if value is None or value == "required":
        return Review(always=True) if value else None
    wrong = PydanticCustomError("review", "it is neither `required` nor `on_change: {…}`")
    if not isinstance(value, dict) or value.keys() != {"on_change"}:
        raise wrong
    rules = value["on_change"]
    if not isinstance(rules, dict) or not rules or rules.keys() - {"rows", "schema"}:
        raise PydanticCustomError("review", "`on_change` takes `rows`, `schema`, or both")
    rows = rules.get("rows")
    if rows is not None:
        number = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", str(rows))
        if number is None:
            raise PydanticCustomError("review", "`rows` is no percentage such as `20%`")
        rows = float(number[1]) / 100
    if rules.get("schema", "any") != "any":
        raise PydanticCustomError("review", "`schema` can only be `any`")
    return Review(rows, "schema" in rules)


class WorkflowSection(_Strict):
    """`workflow:` who and when."""

    name: Text = Field(description="the name that people see")
    description: str = Field(
        default="", description="shown in Dagster and on the first page of the dashboards"
    )
    schedule: str | None = Field(
        default=None, description="a cron line; without it the workflow runs by hand"
    )
    timezone: str = Field(default="UTC", description="the time zone of that line; UTC by default")
    owner: str | None = Field(
        default=None, description="an e-mail address or a team, shown in Dagster"
    )
    tags: list[str] = Field(default_factory=list, description="words to filter by in Dagster")
    review: Annotated[Review | None, BeforeValidator(_review)] = Field(
        default=None,
        description="`required`: a run that passed awaits approval before it is published; "
        "`on_change: {rows: 20%, schema: any}`: only if a table changes that much",
    )

    @property
    def schedule_in_words(self) -> str | None:
        """When it runs, with the time zone; None without a schedule."""
        return in_words(self.schedule, self.timezone) if self.schedule else None


class IngestionSource(_Open):
    """`ingestion.source:` where data comes from."""

    type: str | None = None
    url: str | None = None
    auth_type: str | None = None


class Ingestion(_Open):
    """`ingestion:` read by notebooks through `load_config`."""

    source: IngestionSource | str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)


class TransformationStage(_Open):
    """One of `transformation.stages`."""

    name: Text
    options: dict[str, Any] = Field(default_factory=dict)


class Transformation(_Open):
    """`transformation:` read by notebooks through `load_config`."""

    stages: list[TransformationStage] = Field(default_factory=list)


class StageSection(_Strict):
    """One of `stages:` a notebook and how it runs."""

    notebook: Text = Field(description="the file, beside `config.yaml`")
    parameters: dict[str, Any] = Field(
        default_factory=dict,
        description="values that override the notebook's defaults; a run may set others",
    )
    writes: list[Text] = Field(
        default_factory=list,
        description="the tables it writes, as `table` (in the schema `<workflow>_raw`) or "
        "`schema.table`",
    )
    after: list[Text] | None = Field(
        default=None,
        description="the stages it waits for; by default the one above, none with `[]`",
    )
    timeout: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="seconds for the whole notebook; no limit by default"
    )
    retries: int = Field(
        default=0, ge=0, le=20, description="how often it is tried again; 0 by default, 20 at most"
    )


class WorkflowConfig(_Open):
    """The whole of `config.yaml`."""

    workflow: WorkflowSection
    ingestion: Ingestion | None = None
    transformation: Transformation | None = None
    stages: list[StageSection] | None = None


@dataclass(frozen=True)
class Workflow:
    """A folder below `notebooks/` with its configuration and stages.

    Args:
        id: the folder's name.
        folder: the folder.
        config: the validated configuration.
        stages: its stages, each after those it depends on; none if it is written in Python.
    """

    id: str
    folder: Path
    config: WorkflowConfig
    stages: tuple[Stage, ...]

    @property
    def name(self) -> str:
        """The name shown to people."""
        return self.config.workflow.name

    @property
    def slug(self) -> str:
        """See `slug_of`."""
        return slug_of(self.id)

    @property
    def raw_schema(self) -> str:
        """The schema the stages write to unless they name another."""
        return raw_schema(self.id)

    @property
    def schemas(self) -> tuple[str, ...]:
        """The schemas the workflow owns: raw tables, staging views, marts."""
        return schemas_of(self.id)

    @property
    def writes(self) -> tuple[TableName, ...]:
        """The tables its stages declare."""
        return tuple(dict.fromkeys(table for stage in self.stages for table in stage.writes))

    @property
    def shared_tables(self) -> tuple[TableName, ...]:
        """Its tables in schemas that it does not own, where other workflows have tables, too."""
        return tuple(table for table in self.writes if table.schema not in self.schemas)

    @property
    def step_names(self) -> list[str]:
        """The names of its own steps, found without executing its code."""
        return [stage.name for stage in self.stages]

    @property
    def builds_models(self) -> bool:
        """Whether its own code builds its dbt models; else they are built after it."""
        return False

    def code_problems(self, project: Project) -> list[Problem]:
        """What keeps its code from being imported; notebooks are checked separately."""
        return []

    def stage(self, name: str) -> Stage:
        """The stage called `name`.

        Raises:
            KeyError: there is none.
        """
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(name)

    @property
    def last_stages(self) -> tuple[Stage, ...]:
        """The stages no other stage waits for."""
        waited_for = {name for stage in self.stages for name in stage.after}
        return tuple(stage for stage in self.stages if stage.name not in waited_for)
