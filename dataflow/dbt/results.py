"""The results of a `dbt build`, from the `run_results.json` it leaves."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataflow.project import Project
from dataflow.warehouse.store import dbt_writes

GOOD = {"success", "pass", "warn", "skipped", "no-op"}
BUILDS = {"build", "run", "seed", "snapshot", "retry", "clone"}  # commands that write tables
RESULTS = "run_results.json"


@dataclass(frozen=True)
class Results:
    """The results of a build.

    Args:
        models: by `schema.table`: dbt's `status`, and `seconds`.
        checks: dbt's tests, as the checks of a step are kept.
        failures: each failure in a line: what failed, dbt's reason, and the file to look into.
        queries: the SQL that finds the rows of each test that failed, by the test's name.
        built: what dbt made, as `schema.table`.
    """

    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    checks: list[dict[str, Any]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    queries: dict[str, str] = field(default_factory=dict)
    built: list[str] = field(default_factory=list)


def read_results(project: Project, target: Path) -> Results:
    """Read dbt's results from its `target` folder; empty when it did not get that far."""
    manifest = _read(target / "manifest.json")
    nodes = {**manifest.get("nodes", {}), **manifest.get("unit_tests", {})}
    found = _read(target / RESULTS)
    results = Results()
    for result in found.get("results", []):
        unique_id, status = result["unique_id"], result["status"]
        node = nodes.get(unique_id, {})
        if unique_id.startswith(("test.", "unit_test.")):
            if status == "skipped":
                continue  # what it tests was not built: nobody looked
            results.checks.append(
                {
                    "name": node.get("name", unique_id.split(".")[2]),
                    "passed": status in GOOD - {"warn"},
                    "severity": "warn" if status == "warn" else "error",
                    "metadata": {"failures": result.get("failures")},
                }
            )
        else:
            seconds = round(result.get("execution_time") or 0.0, 3)
            name = f"{node.get('schema')}.{node.get('alias')}"
            results.models[name] = {"status": status, "seconds": seconds}
            if status == "success" and found.get("args", {}).get("which") in BUILDS:
                results.built.append(name)
        if status not in GOOD:
            if status == "fail" and result.get("compiled_code"):
                results.queries[str(node.get("name", unique_id))] = result["compiled_code"]
            kind = node.get("resource_type", "node").replace("_", " ")
            reason = " ".join((result.get("message") or status).split())
            file = node.get("original_file_path")
            where = f" ({project.relative(project.dbt / file)})" if file else ""
            results.failures.append(f"{kind} {node.get('name', unique_id)} failed: {reason}{where}")
    return results


@contextlib.contextmanager
def writing(project: Project, holder: str, target: Path, **run: Any) -> Iterator[None]:
    """Let dbt alone write to the warehouse in the block; the tables it made are noted at the end.

    Args:
        project: the project.
        holder: who writes, in words for those who wait.
        target: dbt's target folder.
        run: `run_id`, `workflow` and `step` of a run; nothing by hand, when no check saw it.

    Raises:
        WarehouseLocked: somebody else held the warehouse all the time.
    """

    def written() -> int:
        path = target / RESULTS
        return path.stat().st_mtime_ns if path.exists() else 0

    with dbt_writes(project, holder, **run) as built:
        before = written()
        yield
        if written() > before:
            built += read_results(project, target).built


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError):
        return {}
