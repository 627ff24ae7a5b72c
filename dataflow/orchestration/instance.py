"""Dagster's instance in `.dagster/`: where runs, events and schedules are kept."""

from __future__ import annotations

import atexit
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from dataflow.base.files import write_whole
from dataflow.base.sharing import is_shared, share_databases
from dataflow.errors import ConfigurationError
from dataflow.orchestration.databases import make_databases_cheap
from dataflow.project import Project

HOME_VARIABLE = "DAGSTER_HOME"

# A line of dagster.yaml that follows the setting for as long as it has this comment.
MARK = "# follows max_runs of [tool.dataflow]; yours without this comment"
FOLLOWS = re.compile(rf"(?<=max_concurrent_runs: )\d+(?=  {re.escape(MARK)})")
CONFIGURATION = f"""\
# Written by DATAFLOW when it is missing; change it as you like, it is never overwritten.
telemetry:
  enabled: false
nux:
  enabled: false
# A run whose process was killed is found and ended, and does not hold others up.
run_monitoring:
  enabled: true
  start_timeout_seconds: 300
  poll_interval_seconds: 20
  free_slots_after_run_end_seconds: 30
run_retries:
  enabled: true
  max_retries: 1
  # A stage that failed is retried by its own `retries`, a killed process once by this.
  retry_on_asset_or_op_failure: false
# Runs of one project share two cores and one warehouse on most machines.
concurrency:
  runs:
    max_concurrent_runs: 4  {MARK}
"""
OF_0_1_0 = CONFIGURATION.replace(f"  {MARK}", "")
OF_0_2_0 = CONFIGURATION
# Dagster looks for runs that wait every five seconds otherwise.
CONFIGURATION += """\
run_queue:
  dequeue_interval_seconds: 1
"""


def ensure_home(project: Project) -> None:
    """Create `.dagster/` with its `dagster.yaml`, and point Dagster at it.

    A `DAGSTER_HOME` that is set already overrides it. The file is its owner's to change, all but
    a line that says that it follows the setting `max_runs`.
    """
    if HOME_VARIABLE not in os.environ:
        os.environ[HOME_VARIABLE] = str(project.dagster_home)
        project.dagster_home.mkdir(parents=True, exist_ok=True)
        configuration = project.dagster_home / "dagster.yaml"
        before = configuration.read_text("utf-8") if configuration.exists() else OF_0_1_0
        # As an earlier version wrote it, whatever max_runs was then: not anybody's own.
        ours = before == OF_0_1_0 or FOLLOWS.sub("4", before) == OF_0_2_0
        text = FOLLOWS.sub(str(project.settings.max_runs), CONFIGURATION if ours else before)
        if text != before:
            write_whole(configuration, text)


def follows_max_runs(project: Project) -> bool:
    """Whether Dagster's own configuration follows the setting `max_runs`."""
    home = Path(os.environ.get(HOME_VARIABLE, project.dagster_home))
    with suppress(OSError):
        return bool(FOLLOWS.search((home / "dagster.yaml").read_text("utf-8")))
    return False


def open_instance(project: Project) -> Any:
    """Open Dagster's instance of `project`.

    It leaves this process's standard output and error alone, which Dagster's usual one redirects
    into files of its own while steps run.

    Raises:
        ConfigurationError: the environment names a folder that does not exist.
    """
    from dagster import DagsterInstance
    from dagster._core.instance import InstanceRef
    from dagster._serdes import ConfigurableClassData

    make_databases_cheap()
    ensure_home(project)
    home = Path(os.environ[HOME_VARIABLE]).expanduser()
    if not (home.is_absolute() and home.is_dir()):
        raise ConfigurationError(
            f"{HOME_VARIABLE} is {os.environ[HOME_VARIABLE]}, which is not an existing folder",
            hint="Create it, name it by its whole path, or unset the variable: the project has its "
            f"own in {project.dagster_home.name}/.",
        )
    reference = InstanceRef.from_dir(str(home))
    reference = reference._replace(
        compute_logs_data=ConfigurableClassData(
            "dagster._core.storage.noop_compute_log_manager", "NoOpComputeLogManager", "{}\n"
        )
    )
    # Two that make the databases of a new project at once leave them in a state that Dagster refuses.
    with FileLock(home / "opening.lock"):
        instance = DagsterInstance.from_ref(reference)
    share_instance(project)  # files from before, and those this process has just created
    atexit.register(share_instance, project)
    return instance


def share_instance(project: Project) -> None:
    """Let the group of a shared project write to Dagster's databases."""
    if project.root.is_dir() and is_shared(project.root):  # also asked at the end of a process
        home = Path(os.environ.get(HOME_VARIABLE, project.dagster_home))
        for folder in ("history", "history/runs", "schedules"):
            share_databases(home / folder)
