"""The private parts of other packages are there, mean what they did, and are all in one table."""

import ast
import inspect
import multiprocessing
import pkgutil
import re
import subprocess
import sys
import threading
from dataclasses import fields
from pathlib import Path
from typing import Any

import dagster as dg
import nbclient
import pytest
from dagster._core.executor.child_process_executor import (
    ChildProcessCommand,
    execute_child_process_command,
)
from dagster._core.launcher import default_run_launcher
from dagster._core.storage import tags
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._grpc.server import DagsterApiServer
from engine_helpers import run_cells
from jupyter_client import BlockingKernelClient
from projects import REPOSITORY, text_of

from dataflow.base.lifetime import end_with_run
from dataflow.engine import kernel
from dataflow.engine.client import StageClient
from dataflow.engine.saving import StageManager
from dataflow.engine.secrets import Scrubber
from dataflow.orchestration import executor, live
from dataflow.orchestration.python.job import _own_resources
from dataflow.orchestration.step import Cancelled, _policy
from dataflow.services import dagster_web
from dataflow.stages.context import WithoutSecrets

PACKAGE = REPOSITORY / "dataflow"
OURS = "dataflow"


def table() -> list[tuple[str, str]]:
    """The parts in the table of docs/architecture.md, each with the file that uses it."""
    text = (REPOSITORY / "docs" / "architecture.md").read_text("utf-8")
    section = text.split("## Private parts of other packages")[1].split("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("| ")][1:]
    return [
        (part, re.findall(r"`([^`]+)`", file)[0])
        for _, parts, file, _ in rows
        for part in re.findall(r"`([^`]+)`", parts)
    ]


def private_uses(tree: ast.Module) -> set[str]:
    """What a module of ours takes from other packages by names that begin with `_`."""
    own = {
        name
        for node in ast.walk(tree)
        for name in (
            getattr(node, "name", None),  # functions and classes
            getattr(node, "arg", None),
            getattr(node, "id", None),
            getattr(node, "attr", None) if isinstance(node, ast.Attribute) else None,
        )
        if name and not (isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load))
    }
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module), names=names, level=0):
                dotted = [f"{module}.{alias.name}" for alias in names]
                found |= {name for name in dotted if not name.startswith((OURS, "__future__"))}
            case ast.Import(names=names):
                found |= {alias.name for alias in names}
            case ast.Attribute(attr=name, value=ast.expr() as value) if name not in own:
                if not isinstance(value, ast.Name) or value.id not in ("self", "cls"):
                    found.add(f".{name}")
            case ast.Constant(value=str(text)):
                found |= set(re.findall(r"\b[a-z]\w*(?:\.\w+)*\._[a-z][\w.]*", text))
    return {name for name in found if re.search(r"(^|\.)_[a-z]", name)}


# Documented all the same: of named tuples, of `os`, of Jupyter's server for its extensions.
PUBLIC = {"._replace", "._asdict", "._exit"}


def test_every_private_part_that_is_used_is_in_the_table():
    assert private_uses(ast.parse("from a._b import c\nx._y\n'a._b.d'")) == {
        "a._b.c",
        "._y",
        "a._b.d",
    }
    known = {part for part, _ in table()}
    missing = {
        (str(path.relative_to(PACKAGE)), use)
        for path in PACKAGE.rglob("*.py")
        for use in private_uses(ast.parse(path.read_text("utf-8"))) - PUBLIC
        if not any(part == use or part.endswith(use) or part.startswith(use) for part in known)
    }
    assert not missing


def test_every_override_of_a_private_method_is_in_the_table():
    from dataflow.dbt.build import ProjectDbt

    known = {part.rpartition(".")[2] for part, _ in table()}
    overridden = {
        name
        for end in (StageClient, StageManager, ProjectDbt, executor.RunExecutor)
        for owner in end.__mro__
        for name, member in vars(owner).items()
        if owner.__module__.startswith(OURS) and re.match(r"_[a-z]", name)
        if inspect.isfunction(member) or isinstance(member, property)
        for base in owner.__mro__[1:]
        if not base.__module__.startswith(OURS) and name in vars(base)
    }
    assert overridden <= known
    assert {"_async_poll_kernel_alive", "_cli_version"} <= overridden


def test_the_table_names_what_is_used_and_what_is_there():
    for part, file in table():
        name = part.rpartition(".")[2]
        assert name in (PACKAGE / file).read_text("utf-8") or part in file, (part, file)
        if part.partition(".")[0] in sys.stdlib_module_names | {"dagster"} and "." in part:
            assert pkgutil.resolve_name(part) is not None
    for part in (part for part, _ in table() if part.startswith(("dagster_dbt.", "nbclient."))):
        assert pkgutil.resolve_name(part) is not None


# -- Dagster ----------------------------------------------------------------------------------


def test_events_are_log_records_from_which_a_step_takes_its_secrets():
    @dg.asset
    def tells(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        context.log.addFilter(WithoutSecrets(Scrubber({"TOKEN": "s3cret-of-mine"})))
        context.log.info("s3cret-of-mine")
        return dg.MaterializeResult(metadata={"address": "?token=s3cret-of-mine"})

    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize([tells], instance=instance)
        stored = [dg.serialize_value(entry) for entry in instance.all_logs(done.run_id)]

    assert not [entry for entry in stored if "s3cret-of-mine" in entry]
    assert [entry for entry in stored if "?token=${TOKEN}" in entry]


class Looks(ChildProcessCommand):
    """What a step in a process of its own sees."""

    def execute(self) -> Any:
        end_with_run()
        yield [thread.name for thread in threading.enumerate()]


def test_a_step_in_a_process_of_its_own_is_known_as_one():
    context = multiprocessing.get_context("fork")
    seen = list(execute_child_process_command(context, Looks()))
    assert ["end-with-run"] in [event[-1:] for event in seen if isinstance(event, list)]


def test_a_cancel_is_not_tried_again_and_an_error_is():
    tried: list[str] = []

    @dg.op(retry_policy=dg.RetryPolicy(max_retries=1))
    def cancelled(context: dg.OpExecutionContext) -> None:
        tried.append("cancelled")
        assert _policy(context, ValueError()).max_retries == 1
        raise Cancelled

    @dg.op(retry_policy=dg.RetryPolicy(max_retries=1))
    def wrong() -> None:
        tried.append("wrong")
        raise ValueError

    for op in (cancelled, wrong):
        dg.GraphDefinition("both", node_defs=[op]).execute_in_process(raise_on_error=False)

    assert tried == ["cancelled", "wrong", "wrong"]


def test_the_tags_by_which_a_run_knows_how_it_was_started_are_dagsters():
    def trigger(*names: str) -> str:
        return executor._trigger(dict.fromkeys(names, ""))

    assert executor.PARENT_TAG == tags.PARENT_RUN_ID_TAG
    assert trigger(tags.SCHEDULE_NAME_TAG) == "schedule"
    assert trigger(tags.PARENT_RUN_ID_TAG, tags.SCHEDULE_NAME_TAG) == "re-execution"
    assert trigger(tags.PARENT_RUN_ID_TAG, tags.RETRY_NUMBER_TAG) == "retry"
    assert tags.PARTITION_NAME_TAG == "dagster/partition"
    assert "GRPC_INFO_TAG:" in inspect.getsource(default_run_launcher), "runs of a server have it"


def test_dagsters_code_server_starts_runs_where_it_can_be_told_how():
    assert "self._mp_ctx = " in inspect.getsource(DagsterApiServer.__init__)
    assert "self._mp_ctx.Process(" in inspect.getsource(DagsterApiServer.StartRun)
    assert "create_engine(" in inspect.getsource(sqlite_event_log.SqliteEventLogStorage._connect)


def test_dagsters_own_lines_can_be_kept_off_the_terminal(monkeypatch, capfd):
    from dagster._core.execution import context_creation_job

    @dg.op
    def nothing() -> None: ...

    loud = context_creation_job.default_system_loggers
    monkeypatch.setattr(context_creation_job, "default_system_loggers", loud)
    graph = dg.GraphDefinition("quiet", node_defs=[nothing])
    graph.execute_in_process()
    assert "RUN_SUCCESS" in capfd.readouterr().err
    monkeypatch.setenv(live.TERMINAL_VARIABLE, "quiet")

    live.quiet_dagster()

    graph.execute_in_process()
    assert capfd.readouterr().err == ""


def test_what_an_author_said_of_a_job_is_told_from_what_dagster_adds():
    @dg.op(required_resource_keys={"own"})
    def nothing() -> None: ...

    given = dg.ResourceDefinition.hardcoded_resource("own")
    job = dg.GraphDefinition("asks", node_defs=[nothing]).to_job(resource_defs={"own": given})
    assert _own_resources(job) == {"own": given}


def test_dagsters_web_server_is_started_where_the_checks_come_in(monkeypatch):
    served: list[Any] = []
    monkeypatch.setattr(dagster_web.uvicorn, "run", lambda app, **options: served.append(app))
    monkeypatch.setattr(sys, "argv", ["dagster-webserver", "--empty-workspace", "--port", "1"])
    monkeypatch.setenv("DATAFLOW_PROJECT", str(REPOSITORY))
    with dg.instance_for_test(), pytest.raises(SystemExit) as ended:
        dagster_web.main()
    assert ended.value.code == 0
    assert [type(app).__name__ for app in served] == ["LocalOnly"]


# -- Kernels ----------------------------------------------------------------------------------


def test_the_engine_is_called_where_it_looks_after_a_kernel(tmp_path: Path, monkeypatch):
    called: set[str] = set()
    processes: list[tuple[Any, ...]] = []

    def spy(name: str) -> None:
        original = getattr(StageClient, name)

        def spied(self: Any, *arguments: Any, **keywords: Any) -> Any:
            called.add(name)
            if name == "_end_kernel":
                processes.append((self._pid, self.km.provisioner.process.pid, self.km.ipykernel))
            return original(self, *arguments, **keywords)

        monkeypatch.setattr(StageClient, name, spied)

    names = {
        "_async_poll_kernel_alive", "_async_check_alive", "_time_left", "_update_display_id",
        "process_message", "output", "_end_kernel",
    }  # fmt: skip
    for name in names:
        spy(name)
    ended = run_cells(
        tmp_path,
        [
            "import sys, time\nfrom IPython.display import display\n"
            "shown = display('a', display_id=True)\nshown.update('b')\ntime.sleep(1.2)",
            "print(get_ipython().kernel.iopub_thread.socket.sndhwm, 'debugpy' in sys.modules, given)",
        ],
        first_line="given = 'before'",
    )
    assert ended.status == "completed"
    assert called == names
    assert text_of(ended.code[1]) == "0 False before\n"
    ((ours, theirs, is_ipython),) = processes
    assert ours == theirs > 0
    assert is_ipython


def test_nbclient_asks_what_the_engine_sets():
    source = inspect.getsource(nbclient.NotebookClient)
    client = nbclient.NotebookClient(nb=None)
    client.register_output_hook("message", "hook")
    assert client.output_hook_stack["message"] == ["hook"]
    assert client.output_hook_stack["another"] == []
    assert "self.task_poll_for_reply = asyncio" in source
    assert "if self.clear_before_next_output:" in source


def test_a_client_of_a_kernel_drops_no_message_and_reads_by_our_own_way():
    client = BlockingKernelClient()
    kernel.unlimited(client)
    client.ip = "127.0.0.1"
    client.iopub_port = 1
    socket = client.connect_iopub()
    message = client.session.msg("status", {"execution_state": "idle"})
    _, *parts = client.session.feed_identities(client.session.serialize(message))
    try:
        assert socket.rcvhwm == 0
        assert client.session.unpack is kernel.unpack
        assert client.session.deserialize(parts[0])["header"]["date"] == message["header"]["date"]
    finally:
        socket.close()


def test_dagstermills_manager_takes_what_a_notebook_gives_it():
    code = (
        "import inspect, sys\n"
        "from dagstermill.manager import Manager\n"
        "given = {'executable_dict', 'job_run_dict', 'node_handle_kwargs', 'instance_ref_dict',"
        " 'step_key', 'output_log_path', 'marshal_dir', 'run_config'}\n"
        "taken = inspect.signature(Manager.reconstitute_job_context).parameters\n"
        "assert set(taken) - {'self'} == given, taken\n"
        "manager = Manager()\n"
        "assert (manager.in_job, manager.marshal_dir, manager.context) == (False, None, None)\n"
        "assert 'in_job' in inspect.getsource(Manager.yield_event)\n"
        "assert callable(Manager.get_context)\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


def test_a_cancel_waits_for_dbt_as_long_as_it_is_told():
    from dagster_dbt import DbtCliInvocation

    assert "termination_timeout_seconds" in {field.name for field in fields(DbtCliInvocation)}
    source = inspect.getsource(DbtCliInvocation)
    assert "self.process.wait(timeout=self.termination_timeout_seconds)" in source


NODES = {
    "model.p.a": ("model", ["p", "quakes", "a"]),
    "model.p.b": ("model", ["p", "quakes", "below", "b.v"]),
    "seed.p.s": ("seed", ["p", "quakes", "s"]),
    "snapshot.p.h": ("snapshot", ["p", "quakes", "h", "h"]),
    "model.p.other": ("model", ["p", "quakes_2", "a"]),
    "model.p.whole": ("model", ["p", "p", "quakes", "x"]),
    "model.p.dotted": ("model", ["p", "z", "p.quakes"]),
    "model.other.a": ("model", ["other", "quakes", "a"]),
    "model.p.quakes": ("model", ["p", "quakes"]),
    "test.p.own": ("test", ["p", "quakes", "own"]),
    "test.p.elsewhere": ("test", ["p", "z", "elsewhere"]),
    "test.p.not_ours": ("test", ["p", "z", "not_ours"]),
}


def test_dagster_dbt_works_without_dbt_and_selects_what_dbt_would():
    children = {name: [] for name in NODES} | {"model.p.a": ["test.p.elsewhere", "model.p.other"]}
    nodes = {
        name: {"resource_type": kind, "fqn": fqn, "config": {"enabled": True}, "tags": []}
        for name, (kind, fqn) in NODES.items()
    }
    manifest = {"nodes": nodes, "child_map": children}
    manifest |= {name: {} for name in ("sources", "metrics", "exposures")}
    code = (
        "import sys\n"
        "from dataflow.dbt.without_dbt import ASK, asset_utils, selected, selecting_in_manifest\n"
        "assert not [name for name in sys.modules if name.partition('.')[0] == 'dbt']\n"
        f"manifest = {manifest!r}\n"
        "asked = ('fqn:p.quakes', '', '', None, manifest)\n"
        "with selecting_in_manifest():\n"
        "    ours = asset_utils.select_unique_ids(*asked)\n"
        "assert 'dbt.graph' not in sys.modules\n"
        "assert len(ours) == 9, ours\n"
        "with selecting_in_manifest():\n"
        "    dbts = asset_utils.select_unique_ids('fqn:p.q*_2*', '', '', None, manifest)\n"
        "assert dbts == {'model.p.other'}, dbts\n"
        "import dbt.version\n"
        "versions = {vars(sys.modules[name])['DBT_PYTHON_VERSION'] for name in ASK}\n"
        "assert [str(one) for one in versions] == [dbt.version.__version__]\n"
        "assert ours == asset_utils.select_unique_ids(*asked), asset_utils.select_unique_ids(*asked)\n"
        "from dagster_shared.libraries import DagsterLibraryRegistry\n"
        "assert DagsterLibraryRegistry.get()['dbt-core'] == dbt.version.__version__\n"
        "assert 'dbt-fusion' not in DagsterLibraryRegistry.get()\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


def test_jsonschema_does_without_the_grammar_that_is_left_out():
    code = (
        "import sys; sys.modules['rfc3987_syntax'] = None; import jsonschema, nbformat\n"
        "nbformat.validate(nbformat.v4.new_notebook())"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
