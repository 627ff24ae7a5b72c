"""A notebook as it is in an editor, beside the executed notebook of a run of its stage.

What was run by hand has no record: parameters, code and outputs are compared, and nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dataflow.engine.secrets import Scrubber
from dataflow.errors import ConfigurationError
from dataflow.project import Project
from dataflow.review.commits import CommitsBetween
from dataflow.review.comparison import (
    RunComparison,
    RunFacts,
    StageDiff,
    compare_values,
    defaults_of,
    facts_of,
    same_in_words,
    values_of,
)
from dataflow.review.noise import RULES, Noise, steps_of
from dataflow.review.notebooks import compare_cells, read_executed
from dataflow.review.text import TOLERANCE, Comparer
from dataflow.runs.record import SHORT, Run
from dataflow.stages.execute import machine_paths
from dataflow.stages.parameters import INJECTED_TAG
from dataflow.variables import secrets_of

NEVER_RUN = (
    "This notebook has no outputs here, so only its code is compared. To compare outputs, run its "
    "cells, or compare two runs."
)


def compare_with_run(
    project: Project, run: Run, path: Path, notebook: Any, *, everything: bool = False
) -> RunComparison:
    """Compare a stage's notebook as it is in an editor, which is `after`, with a run's.

    Secrets and paths are taken out of it as out of a run's outputs, so that they do not differ.

    Args:
        project: the project.
        run: a run of the stage.
        path: the stage's notebook.
        notebook: its content, which may not be saved, and is changed.
        everything: leave out nothing but moments and ids of the run itself.

    Raises:
        ConfigurationError: the run did not execute the stage, or its notebook is gone.
    """
    stage = path.stem
    file = steps_of(run).get(stage, {}).get("notebook")
    if not file:
        raise ConfigurationError(
            f"run {run.run_id[:SHORT]} did not execute {stage}", hint="Choose another run."
        )
    executed = run.folder / Path(str(file)).name  # whatever the record says: in its folder
    before = read_executed(executed)
    after = _as_a_run_would_keep_it(project, run, path, notebook)
    settings = project.settings
    noise = [
        Noise(one, zone=settings.timezone, more=() if everything else settings.diff_ignore,
              rules=() if everything else RULES)
        for one in (run, None)
    ]  # fmt: skip
    comparer = Comparer(noise[0], noise[1], TOLERANCE)
    ran = was_run(after)
    found = compare_cells(before, after, comparer, outputs=ran)
    old, new = values_of(run, stage, before), defaults_of(path, after)
    parameters = compare_values(stage, old, new, "absent")
    same = Counter(
        parameters=len({*old, *new}) - len(parameters),
        cells=found.same_cells,
        outputs=found.same_outputs,
    )
    notes = [found.note] if found.note else []
    if ".try" in executed.name:
        notes.append(f"the run's is that of try {executed.stem.rpartition('.try')[2]}")
    page = executed.with_suffix(".html").name
    return RunComparison(
        before=facts_of(run),
        after=RunFacts("", "", run.workflow_id, "", "", None, "", ""),
        results=(), parameters=tuple(parameters), code=(),
        stages=(StageDiff(stage, found, "; ".join(notes), page),),
        rows=(), schema=(), figures=(), checks=(), times=(),
        commits=CommitsBetween(None, None),
        left_out=dict(comparer.left_out),
        same=tuple(same_in_words(same)),
        notes=() if ran else (NEVER_RUN,),
    )  # fmt: skip


def was_run(cells: Sequence[Any]) -> bool:
    """Whether a cell of a notebook was run, as far as the notebook says."""
    return any(
        cell.get("outputs") or cell.get("execution_count") is not None
        for cell in cells
        if cell.cell_type == "code"
    )


def _as_a_run_would_keep_it(project: Project, run: Run, path: Path, notebook: Any) -> list[Any]:
    """The cells without what a run's executed notebook does not have."""
    secrets = secrets_of(path.parent, run.data, environment=project.environment())
    scrubber = Scrubber(secrets).with_paths(machine_paths(project))
    for cell in notebook.cells:
        # What papermill noted is of another run: here it says nothing of what was executed.
        cell.metadata.pop("papermill", None)
    cells = scrubber.notebook(notebook).cells
    return [cell for cell in cells if INJECTED_TAG not in cell.metadata.get("tags", [])]
