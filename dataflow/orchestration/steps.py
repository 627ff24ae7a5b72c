"""The steps of a workflow: one interface for every kind of workflow.

Each kind describes its own steps, in a package of its own (`notebooks`, `python`); the steps that
follow are the same for all: dbt, publish, dashboard. `kinds.py` chooses.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dataflow.base.sql import TableName
from dataflow.base.words import nearest
from dataflow.dashboard.paths import has_sources
from dataflow.dbt.project import has_models, model_keys
from dataflow.errors import ParameterError, Problem
from dataflow.orchestration import dagster_names as names
from dataflow.orchestration.code_version import dashboard_version, models_version, publish_version
from dataflow.project import Project
from dataflow.workflows.model import Workflow

Values = dict[str, dict[str, Any]]  # by step and parameter


@dataclass(frozen=True)
class StepInfo:
    """A step of a workflow.

    Args:
        name: its name: the stage's or op's, or dbt, publish, dashboard.
        kind: stage, op, tables, dbt, publish or dashboard.
        after: the steps it depends on.
    """

    name: str
    kind: str
    after: tuple[str, ...]


class WorkflowSteps(ABC):
    """The steps of one workflow, what each makes, and which parameters a run may set.

    Args:
        project: the project.
        workflow: the workflow.
    """

    word: str  # what the kind calls its own steps

    def __init__(self, project: Project, workflow: Workflow) -> None:
        self.project = project
        self.workflow = workflow

    @abstractmethod
    def own(self) -> list[StepInfo]:
        """The steps of the workflow's own code, each after those it depends on."""

    @abstractmethod
    def own_keys(self, step: str) -> list[list[str]]:
        """The asset keys that one of these steps makes."""

    @abstractmethod
    def last_keys(self) -> list[list[str]]:
        """The asset keys that the steps after the workflow's own wait for."""

    @abstractmethod
    def own_version(self, step: str, values: Any) -> str:
        """The code version of one of these steps; see `version`."""

    @abstractmethod
    def values(self, step: StepInfo, chosen: Mapping[str, Mapping[str, Any]]) -> Any:
        """The parameters of a step when a run sets `chosen`; None for a step without any."""

    @abstractmethod
    def check(self, parameters: Mapping[str, Any]) -> Values:
        """Check the values chosen for a run, before anything runs.

        Args:
            parameters: values by name; a name goes to every step that has such a parameter,
                and `step.name` to that step only.

        Raises:
            ParameterError: lists everything that is wrong, in all steps.
        """

    @abstractmethod
    def run_config(self, chosen: Values, steps: list[str] | None = None) -> dict[str, Any] | None:
        """A run's configuration for Dagster: only what was chosen for it.

        Args:
            chosen: from `check`.
            steps: the steps to run; None for all.
        """

    @abstractmethod
    def own_assets(self) -> list[Any]:
        """The Dagster assets of the workflow's own code."""

    @property
    def is_parallel(self) -> bool:
        """Whether two steps could run at the same time."""
        return False

    def require_alone(self, step: str) -> None:  # noqa: B027 - most kinds refuse none
        """Refuse a step that `--only` and `--from` do not accept.

        Raises:
            ConfigurationError: it can only run together with others.
        """

    @cached_property
    def all(self) -> list[StepInfo]:
        """The steps of a whole run, each after those it depends on."""
        steps = self.own()
        waited_for = {name for step in steps for name in step.after}
        last = tuple(step.name for step in steps if step.name not in waited_for)
        if self.has_dbt:
            steps.append(StepInfo(names.DBT, "dbt", last))
            last = (names.DBT,)
        steps.append(StepInfo(names.PUBLISH, "publish", last))
        if has_sources(self.project, self.workflow.id):
            steps.append(StepInfo(names.DASHBOARD, "dashboard", (names.PUBLISH,)))
        return steps

    @property
    def has_dbt(self) -> bool:
        """Whether a run builds the workflow's models in a step of its own.

        Not where there are none, and not where the workflow's own code builds them.
        """
        return has_models(self.project, self.workflow.id) and not self.workflow.builds_models

    def keys(self, step: str) -> list[list[str]]:
        """The asset keys that `step` makes."""
        if step == names.DBT:
            return model_keys(self.project, self.workflow)
        if step == names.PUBLISH:
            return [names.published_key(self.workflow.id)]
        if step == names.DASHBOARD:
            return [names.dashboard_key(self.workflow)]
        return self.own_keys(step)

    def tables(self, step: str) -> set[TableName]:
        """The tables and views that `step` is declared to make."""
        if step in (names.PUBLISH, names.DASHBOARD):
            return set()
        # A stage or a job without tables has an asset that stands for itself.
        own = ["jobs", self.workflow.id]
        return {TableName(*key) for key in self.keys(step) if len(key) == 2 and key != own}

    def version(self, step: str, values: Any = None) -> str:
        """The version of a step's code: it changes when the step's result may change.

        Args:
            step: the step.
            values: its parameters in a run: environment variables that they name count, too.
        """
        if step == names.DBT:
            return models_version(self.project, self.workflow)
        if step == names.DASHBOARD:
            return dashboard_version(self.project, self.workflow)
        if step == names.PUBLISH:
            return publish_version(self.workflow)
        return self.own_version(step, values)

    def route(
        self, known: Mapping[str, Iterable[str]], parameters: Mapping[str, Any]
    ) -> tuple[Values, list[Problem]]:
        """Find the steps that each of `parameters` is for.

        Args:
            known: the parameters that each step has, by its name.
            parameters: as `check` takes them.

        Returns:
            The values by step and parameter, and what is wrong with their names.
        """
        values: Values = {}
        problems = []
        for name, value in parameters.items():
            step, _, bare = name.rpartition(".")
            if step and step not in known:
                hint = nearest(step, known)
                problems.append(Problem(f"there is no {self.word} `{step}`", hint=hint))
                continue
            takers = [other for other, has in known.items() if bare in has and step in ("", other)]
            if not takers:
                where = f"{self.word} `{step}`" if step else f"no {self.word} of {self.workflow.id}"
                hint = nearest(bare, {one for has in known.values() for one in has})
                problems.append(
                    Problem(
                        f"{where} has{' no' if step else ' a'} parameter `{bare}`",
                        hint=hint or f"None of the {self.word}s has parameters.",
                    )
                )
            for taker in takers:
                values.setdefault(taker, {})[bare] = value
        return values, problems

    def refuse(self, problems: list[Problem]) -> None:
        """Raise what is wrong with a run's parameters, if anything is."""
        if problems:
            raise ParameterError(
                f"the parameters of workflow {self.workflow.id} are not right; nothing was run",
                problems=problems,
                root=self.project.root,
            )
