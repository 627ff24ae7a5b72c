"""The steps of a workflow of notebooks: its stages."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from dataflow.errors import ParameterError
from dataflow.orchestration import dagster_names as names
from dataflow.orchestration.code_version import stage_version
from dataflow.orchestration.steps import StepInfo, Values, WorkflowSteps
from dataflow.stages.notebook import declared_parameters
from dataflow.stages.parameters import Declaration
from dataflow.stages.result import plain
from dataflow.stages.values import check_values, conceal


class NotebookSteps(WorkflowSteps):
    """Each stage is a step, and makes the tables in its `writes`."""

    word = "stage"

    def own(self) -> list[StepInfo]:
        return [StepInfo(stage.name, "stage", stage.after) for stage in self.workflow.stages]

    def own_keys(self, step: str) -> list[list[str]]:
        return names.stage_keys(self.workflow.stage(step))

    def last_keys(self) -> list[list[str]]:
        return [key for stage in self.workflow.last_stages for key in names.stage_keys(stage)]

    def own_version(self, step: str, values: Any) -> str:
        return stage_version(self.project, self.workflow.stage(step), values)

    def values(self, step: StepInfo, chosen: Mapping[str, Mapping[str, Any]]) -> Any:
        if step.kind != "stage":
            return None
        merged = {**self.workflow.stage(step.name).parameters, **chosen.get(step.name, {})}
        return {name: plain(value) for name, value in merged.items()}

    @cached_property
    def _declarations(self) -> dict[str, Declaration]:
        return {stage.name: declared_parameters(stage.notebook) for stage in self.workflow.stages}

    def check(self, parameters: Mapping[str, Any]) -> Values:
        known = {name: declared.parameters for name, declared in self._declarations.items()}
        routed, problems = self.route(known, parameters)
        values: Values = {}
        for stage in self.workflow.stages:
            declared, chosen = self._declarations[stage.name], routed.get(stage.name, {})
            try:
                checked = check_values(declared, {**stage.parameters, **chosen}, stage=stage.name)
            except ParameterError as error:
                problems += error.problems
                continue
            if chosen:
                own = {name: value for name, value in checked.items() if name in chosen}
                values[stage.name] = conceal(declared, own, stage=stage.name)
        self.refuse(problems)
        return values

    def run_config(self, chosen: Values, steps: list[str] | None = None) -> dict[str, Any] | None:
        from dataflow.orchestration.notebooks.config_schema import to_config

        ops = {
            names.op_name(self.workflow.id, stage): {"config": to_config(values)}
            for stage, values in chosen.items()
            if steps is None or stage in steps
        }
        return {"ops": ops} if ops else None

    def own_assets(self) -> list[Any]:
        from dataflow.orchestration.notebooks.stage import stage_asset

        return [stage_asset(self, stage) for stage in self.workflow.stages]

    @property
    def is_parallel(self) -> bool:
        """Whether some stage does not wait for just the one before it."""
        stages = self.workflow.stages
        before = [(), *((stage.name,) for stage in stages)]
        return any(stage.after != after for stage, after in zip(stages, before, strict=False))
