"""dagster-dbt, imported without dbt.

`import dagster_dbt` takes four seconds of CPU, nearly all of them for dbt, which a run starts as a
process of its own. dagster-dbt does without it, since dbt's newer engine is no Python package.
Here it is hidden while dagster-dbt is imported, which is told afterwards that it is there: what
asks dbt's own code imports it when it is called.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

from dagster import DagsterLibraryRegistry
from packaging.version import Version

__all__ = ["dagster_dbt", "selected", "selecting_in_manifest"]

ASKED = "dbt.version"  # what dagster-dbt imports first, to find out whether dbt is there
# The modules that keep the answer.
ASK = ("dagster_dbt", "dagster_dbt.compat", "dagster_dbt.core.resource", "dagster_dbt.utils")
# A workflow's selection; dbt reads other names in another way.
_PLAIN = re.compile(r"fqn:(\w+\.\w+)")


@contextlib.contextmanager
def _without_dbt() -> Iterator[None]:
    """Hide dbt from dagster-dbt, imported in the block."""
    if ASKED in sys.modules or "dagster_dbt" in sys.modules:  # then that has been paid for
        yield
        return
    hidden: dict[str, Any] = sys.modules
    hidden[ASKED] = None
    try:
        yield
    finally:
        del hidden[ASKED]
    there = version("dbt-core")
    for name in ASK:
        vars(sys.modules[name])["DBT_PYTHON_VERSION"] = Version(there)
    DagsterLibraryRegistry._libraries.pop("dbt-fusion", None)
    DagsterLibraryRegistry.register("dbt-core", there, is_dagster_package=False)


with _without_dbt():
    import dagster_dbt
    from dagster_dbt import asset_utils


@contextlib.contextmanager
def selecting_in_manifest() -> Iterator[None]:
    """Have `@dbt_assets` in the block find a workflow's models and tests without dbt's code."""
    original = asset_utils.select_unique_ids

    def select_unique_ids(
        select: str, exclude: str, selector: str, project: Any, manifest_json: Mapping[str, Any]
    ) -> Any:
        plain = _PLAIN.fullmatch(select)
        found = plain and selected(manifest_json, plain[1])
        # Where nothing is found, dbt says so in its own words.
        return found or original(select, exclude, selector, project, manifest_json)

    asset_utils.select_unique_ids = select_unique_ids
    try:
        yield
    finally:
        asset_utils.select_unique_ids = original


def selected(manifest: Mapping[str, Any], name: str) -> set[str]:
    """The models, seeds, snapshots and tests that dbt's selection `fqn:name` takes.

    Args:
        manifest: dbt's manifest.
        name: the beginning of their qualified names, without wildcards.
    """
    nodes = manifest["nodes"]
    found = {id_ for id_, node in nodes.items() if _is_named(node["fqn"], name)}
    children = {child for id_ in found for child in manifest["child_map"].get(id_, ())}
    return found | {id_ for id_ in children & nodes.keys() if nodes[id_]["resource_type"] == "test"}


def _is_named(fqn: list[str], name: str) -> bool:
    """Whether dbt finds a node of the qualified name `fqn` by `name`, with or without package."""
    wanted = name.split(".")
    return any(
        parts[-1] == name or ".".join(parts).split(".")[: len(wanted)] == wanted
        for parts in (fqn, fqn[1:])
        if parts
    )
