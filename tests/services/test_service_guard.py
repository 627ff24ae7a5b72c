"""Dagster's web server takes orders from its own pages only."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import dagster as dg
import pytest
from projects import environment, free_port, wait_until
from service_helpers import fetch
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from dataflow.services.ports import is_healthy

pytestmark = pytest.mark.slow

PUBLIC = "https://dagster.example.org"


@dg.op
def nothing() -> None:
    """Do nothing."""


@dg.job
def empty() -> None:
    nothing()


@dataclass
class Server:
    port: int
    home: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def new_run(self) -> str:
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            return empty.execute_in_process(instance=instance).run_id

    def has_run(self, run_id: str) -> bool:
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            return instance.has_run(run_id)

    def delete(self, run_id: str, **headers: str) -> tuple[int, str]:
        body = json.dumps({"query": deletion(run_id)}).encode()
        headers = {"Content-Type": "application/json"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        return fetch(f"{self.url}/graphql", data=body, headers=headers)


def deletion(run_id: str) -> str:
    return f'mutation {{ deletePipelineRun(runId: "{run_id}") {{ __typename }} }}'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    (home / "workspace.yaml").write_text("load_from: []\n")
    (home / "pyproject.toml").write_text("[tool.dataflow]\n")
    (home / ".env").write_text(f"DATAFLOW_DAGSTER_URL={PUBLIC}\n")
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "dataflow.services.dagster_web", "--port", str(port),
         "--workspace", str(home / "workspace.yaml")],
        env={**environment(), "DAGSTER_HOME": str(home), "DATAFLOW_PROJECT": str(home)},
    )  # fmt: skip
    try:
        wait_until(lambda: process.poll() is not None or is_healthy(port, "/server_info"))
        assert process.poll() is None
        yield Server(port, home)
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module")
def run_id(server: Server) -> str:
    """A run that nobody may delete."""
    return server.new_run()


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:3000"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site", "Origin": "http://localhost.evil.example"},
    ],
)
def test_a_page_of_another_site_can_delete_no_run(
    server: Server, run_id: str, headers: dict[str, str]
) -> None:
    assert server.delete(run_id, **headers)[0] == 403
    assert server.has_run(run_id)


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none", "same-origin", None])
def test_a_mutation_in_an_address_changes_nothing(
    server: Server, run_id: str, site: str | None
) -> None:
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"} if site else {}

    answer = fetch(f"{server.url}/graphql?query={quote(deletion(run_id))}", headers=headers)

    assert answer[0] == 403
    assert server.has_run(run_id)


def open_socket(server: Server, origin: str | None) -> None:
    with connect(
        f"ws://127.0.0.1:{server.port}/graphql", origin=origin, subprotocols=["graphql-ws"]
    ) as client:
        client.send('{"type": "connection_init"}')
        assert json.loads(client.recv(timeout=60)) == {"type": "connection_ack"}


def test_its_pages_work_and_other_sites_get_no_websocket(server: Server) -> None:
    status, page = fetch(f"{server.url}/runs")
    assert status == 200
    assert "<html" in page
    for own in (server.url, PUBLIC, None):
        open_socket(server, own)
    for foreign in ("https://evil.example", "null", f"http://127.0.0.1:{server.port + 1}"):
        with pytest.raises(InvalidStatus) as refused:
            open_socket(server, foreign)
        assert refused.value.response.status_code == 403

    run_id = server.new_run()
    status, answer = server.delete(run_id, Origin=server.url, Sec_Fetch_Site="same-origin")
    assert (status, server.has_run(run_id)) == (200, False), answer


def test_links_from_elsewhere_lead_in_and_nothing_can_be_embedded(server: Server) -> None:
    from_elsewhere = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    followed = {**from_elsewhere, "Sec-Fetch-Dest": "document"}
    embedded = {**from_elsewhere, "Sec-Fetch-Dest": "iframe"}

    assert fetch(f"{server.url}/runs", headers=followed)[0] == 200
    assert fetch(f"{server.url}/runs", headers=embedded)[0] == 403


def test_a_proxys_address_is_an_own_one_when_it_was_set(server: Server) -> None:
    run_id = server.new_run()
    name = PUBLIC.removeprefix("https://")

    status, _ = server.delete(run_id, Host=name, Origin=PUBLIC)

    assert (status, server.has_run(run_id)) == (200, False)
    assert server.delete(run_id, Host=f"{name}:81")[0] == 403
