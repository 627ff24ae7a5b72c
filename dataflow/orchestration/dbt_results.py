"""What a `dbt build` came to, from the `run_results.json` it leaves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataflow.project import Project

GOOD = {"success", "pass", "warn", "skipped", "no-op"}


@dataclass(frozen=True)
class Results:
    """The results of a build.

    Args:
        results: dbt's own list; empty when dbt did not come that far.
        nodes: the manifest's nodes by unique id.
    """

    results: list[dict[str, Any]]
    nodes: dict[str, dict[str, Any]]

    def node(self, result: dict[str, Any]) -> dict[str, Any]:
        """The node a result is of."""
        return self.nodes.get(result["unique_id"], {})

    @property
    def facts(self) -> dict[str, Any]:
        """The build as `run.json` keeps it: models with seconds, tests as checks."""
        models, checks = {}, []
        for result in self.results:
            node = self.node(result)
            if result["unique_id"].startswith(("test.", "unit_test.")):
                checks.append(
                    {
                        "name": node.get("name", result["unique_id"].split(".")[2]),
                        "passed": result["status"] in GOOD - {"warn"},
                        "severity": "warn" if result["status"] == "warn" else "error",
                        "metadata": {"failures": result.get("failures")},
                    }
                )
            else:
                name = f"{node.get('schema')}.{node.get('alias')}"
                models[name] = {
                    "status": result["status"],
                    "seconds": round(result.get("execution_time") or 0.0, 3),
                }
        return {"models": models, "checks": checks}

    @property
    def built(self) -> list[str]:
        """What dbt made, as `schema.table`."""
        made = self.facts["models"].items()
        return [name for name, model in made if model["status"] == "success"]


def read_results(target: Path) -> Results:
    """Read the results that dbt left in its `target` folder."""
    return Results(
        _read(target / "run_results.json").get("results", []),
        {**(manifest := _read(target / "manifest.json")).get("nodes", {}),
         **manifest.get("unit_tests", {})},
    )  # fmt: skip


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError):
        return {}


def failures_in(results: Results, project: Project) -> list[str]:
    """Each failure in a line: what failed, dbt's reason, and the file to look into."""
    lines = []
    for result in results.results:
        if result["status"] in GOOD:
            continue
        node = results.node(result)
        kind = node.get("resource_type", "node").replace("_", " ")
        name = node.get("name", result["unique_id"])
        reason = " ".join((result.get("message") or result["status"]).split())
        file = node.get("original_file_path")
        where = f" ({project.relative(project.dbt / file)})" if file else ""
        lines.append(f"{kind} {name} failed: {reason}{where}")
    return lines
