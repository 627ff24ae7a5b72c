"""The stages of my_workflow: each on a small input, the API played by a server on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlparse

import pytest

ORDER = {
    "id": 1,
    "ordered_at": "2024-01-01T09:00:00Z",
    "customer": "Ada",
    "country": "gb",
    "product": "lamp",
    "quantity": 2,
    "unit_price": 39.0,
}


class Pages(BaseHTTPRequestHandler):
    """Answers with three pages of orders, the last of them empty."""

    def do_GET(self) -> None:
        page = int(parse_qs(urlparse(self.path).query)["page"][0])
        orders = [{**ORDER, "id": page * 10 + n} for n in range(2)] if page < 3 else []
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps({"orders": orders}).encode())

    def log_message(self, *arguments: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def api_url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/orders"
    server.shutdown()
    thread.join()
    server.server_close()


def test_all_pages_of_the_api_are_taken(run_stage, api_url):
    run = run_stage("my_workflow", "ingest", parameters={"source": "api", "api_url": api_url})

    assert sorted(run.tables["orders"]["id"]) == [10, 11, 20, 21]


def test_the_embedded_orders_are_cleaned(run_stage):
    run_stage("my_workflow", "ingest")
    run = run_stage("my_workflow", "transform")

    clean = run.tables["orders_clean"]
    assert clean["order_id"].is_unique
    assert (clean["quantity"] > 0).all()
    assert run.records["orders_clean"]["duplicates"] == 1
    assert run.records["orders_clean"]["rejected"] == 1


def test_too_many_impossible_orders_fail_the_stage(run_stage):
    given = [ORDER, {**ORDER, "id": 2, "quantity": 0}]

    run = run_stage("my_workflow", "transform", tables={"orders": given}, expect_failure=True)

    assert not run.checks["few orders are impossible"].passed
