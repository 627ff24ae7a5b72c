"""Who may ask Jupyter's server for what the panel shows, and have it do something."""

from __future__ import annotations

import httpx
import pytest
from projects import parameters

from dataflow.lab.extension import REQUESTS

pytestmark = pytest.mark.slow

# A path for each of the requests, with what stands for the parts that vary.
NAMES = [
    path.replace("(.+)", "runs/w/r/s.ipynb").replace("([^/]+)", "a-run") for path, _ in REQUESTS
]


@pytest.fixture(scope="module")
def gauges(lab):
    lab.add("gauges", {"levels": [parameters("limit: int = 3"), "print(limit)"]})
    return lab


def methods(handler: type) -> list[str]:
    return [name for name in ("get", "post", "delete") if name in vars(handler)]


def test_nobody_without_the_token_is_answered(gauges):
    for (_, handler), name in zip(REQUESTS, NAMES, strict=True):
        for method in methods(handler):
            answer = httpx.request(method.upper(), f"{gauges.base}/dataflow/api/{name}")
            assert answer.status_code == 403, (method, name)


def test_a_page_that_has_only_the_cookie_can_change_nothing(gauges):
    with httpx.Client(follow_redirects=True) as browser:
        browser.get(gauges.url)
        assert browser.get(f"{gauges.base}/dataflow/api/notebook?path=").status_code == 200
        for (_, handler), name in zip(REQUESTS, NAMES, strict=True):
            for method in set(methods(handler)) - {"get"}:
                answer = browser.request(method.upper(), f"{gauges.base}/dataflow/api/{name}")
                assert answer.status_code == 403, (method, name)
                assert "_xsrf" in answer.text


def test_executed_notebooks_cannot_be_changed_and_lead_nowhere_else(gauges):
    for method in ("PUT", "POST", "PATCH", "DELETE"):
        assert gauges.api(method, "archive/runs/gauges/r/levels.ipynb").status_code == 405
    for path in ("..%2F..%2Fetc%2Fpasswd", "runs/gauges/..%2F..%2Fnotebooks%2Fgauges/levels.ipynb"):
        answer = gauges.api("GET", f"archive/{path}")
        assert (answer.status_code, answer.json()["message"].startswith("there is no")) == (
            422,
            True,
        )


def test_a_request_that_makes_no_sense_is_refused_in_words(gauges):
    path = "notebooks/gauges/levels.ipynb"

    assert gauges.api("POST", "plan", content=b"[1]").status_code == 400
    assert gauges.api("POST", "plan", content=b"{").status_code == 400
    nowhere = gauges.api("POST", "plan", json={"path": "../x.ipynb"})
    assert (nowhere.status_code, nowhere.json()["message"]) == (422, "there is no file `../x.ipynb` in JupyterLab")  # fmt: skip
    odd = gauges.api("POST", "plan", json={"path": path, "parameters": {"<b>": [1]}}).json()
    assert "has no parameter `<b>`" in odd["problems"][0]["message"]
    assert gauges.api("GET", "notebook").status_code == 400
