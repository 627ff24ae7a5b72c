"""The HTTP client and its paging, against a real server on 127.0.0.1."""

from __future__ import annotations

import base64
import itertools
import logging
import socket
import time
import traceback
from email.utils import formatdate, parsedate_to_datetime

import httpx
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from dataflow.errors import ConfigurationError, DataflowError
from dataflow.shared.http import HttpError, client
from dataflow.shared.paging import cursor_pages, link_pages, number_pages, offset_pages

SECRET = "s3cr3t/with+odd=characters"


def fast(server: HTTPServer, path: str = "/data", **settings):
    """A client of `server` that waits milliseconds where others wait seconds."""
    return client({"url": server.url_for(path)}, retry_wait=0.01, **settings)


def answers(server: HTTPServer, path: str, *responses: Response) -> list[Request]:
    """Let `path` give these answers in turn, the last one for ever; returns what was asked."""
    asked: list[Request] = []

    def handle(request: Request) -> Response:
        asked.append(request)
        return responses[min(len(asked), len(responses)) - 1]

    server.expect_request(path).respond_with_handler(handle)
    return asked


# --- trying again ---------------------------------------------------------------------


def test_two_failures_and_then_an_answer_is_an_answer(httpserver: HTTPServer, caplog):
    asked = answers(
        httpserver, "/data", Response(status=500), Response(status=503), Response('{"n": 1}')
    )
    with caplog.at_level(logging.WARNING), fast(httpserver) as api:
        assert api.get_json() == {"n": 1}
    assert len(asked) == 3
    assert "the server answered 503" in caplog.text
    assert "trying again in" in caplog.text


def test_after_the_last_retry_the_error_says_what_the_server_said(httpserver: HTTPServer):
    asked = answers(
        httpserver, "/data", Response("<html><b>Down</b> for\n repair</html>", status=503)
    )
    with fast(httpserver, max_retries=2) as api, pytest.raises(HttpError) as caught:
        api.get_json(params={"day": "2018-02-01"})
    assert len(asked) == 3
    assert caught.value.status == 503
    assert "503 SERVICE UNAVAILABLE: Down for repair" in str(caught.value)
    assert f"GET {httpserver.url_for('/data')}?day=2018-02-01" in str(caught.value)
    assert "max_retries" in str(caught.value)
    assert isinstance(caught.value, DataflowError)


def test_a_mistake_of_ours_is_not_tried_again(httpserver: HTTPServer):
    asked = answers(httpserver, "/data", Response('Bad limit value "x".', status=400))
    with fast(httpserver) as api, pytest.raises(HttpError, match='Bad limit value "x"'):
        api.get_json()
    assert len(asked) == 1


def test_retry_after_in_seconds_is_waited_for(httpserver: HTTPServer):
    answers(httpserver, "/data", Response(status=429, headers={"Retry-After": "1"}), Response("[]"))
    begun = time.monotonic()
    with fast(httpserver) as api:
        assert api.get_json() == []
    assert 1.0 <= time.monotonic() - begun < 30


def test_retry_after_as_a_date_is_waited_for(httpserver: HTTPServer):
    moment = formatdate(time.time() + 2, usegmt=True)
    answers(
        httpserver, "/data", Response(status=503, headers={"Retry-After": moment}), Response("[]")
    )
    with fast(httpserver) as api:
        assert api.get_json() == []
    assert 0 <= time.time() - parsedate_to_datetime(moment).timestamp() < 30


def test_a_server_that_asks_for_an_hour_is_not_waited_for(httpserver: HTTPServer):
    asked = answers(httpserver, "/data", Response(status=429, headers={"Retry-After": "3600"}))
    with fast(httpserver) as api, pytest.raises(HttpError, match="wait 3600 s") as caught:
        api.get_json()
    assert len(asked) == 1
    assert caught.value.retry_after == 3600


def test_a_post_is_not_sent_twice_unless_the_server_refused_it(httpserver: HTTPServer):
    broken = answers(httpserver, "/broken", Response(status=500))
    refused = answers(httpserver, "/refused", Response(status=429), Response("{}"))
    with fast(httpserver, "/") as api:
        with pytest.raises(HttpError):
            api.post("broken", json={"n": 1})
        assert api.post("refused", json={"n": 1}).status_code == 200
    assert len(broken) == 1
    assert [request.get_json() for request in refused] == [{"n": 1}, {"n": 1}]


def test_silence_is_a_timeout_that_names_the_setting(httpserver: HTTPServer):
    def sleep(_: Request) -> Response:
        time.sleep(1)
        return Response("[]")

    httpserver.expect_request("/data").respond_with_handler(sleep)
    with (
        fast(httpserver, timeout=0.2, max_retries=1) as api,
        pytest.raises(HttpError, match=r"no answer within 0\.2 s") as caught,
    ):
        api.get_json()
    assert "Raise timeout" in str(caught.value)


def test_no_server_is_an_error_that_names_the_address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (
        client(url=f"http://127.0.0.1:{port}/x", retry_wait=0.01, max_retries=1) as api,
        pytest.raises(HttpError, match=f"cannot connect to 127.0.0.1:{port}") as caught,
    ):
        api.get_json()
    assert caught.value.status is None


def test_an_answer_that_breaks_off_is_asked_for_again(httpserver: HTTPServer):
    # A list, as werkzeug corrects the length of a text.
    short = Response(["[1, 2"], headers={"Content-Length": "400"})
    asked = answers(httpserver, "/data", short, Response("[1, 2, 3]"))
    with fast(httpserver) as api:
        assert api.get_json() == [1, 2, 3]
    assert len(asked) == 2


@pytest.mark.parametrize("body", ["<html><p>Please log in</p></html>", '{"features": [', ""])
def test_an_answer_that_is_not_json_shows_its_start(httpserver: HTTPServer, body: str):
    answers(httpserver, "/data", Response(body, content_type="text/html"))
    with fast(httpserver) as api, pytest.raises(HttpError, match="is not JSON") as caught:
        api.get_json()
    assert "text/html" in str(caught.value)
    if "log in" in body:
        assert "Please log in" in str(caught.value)


def test_an_empty_answer_is_none(httpserver: HTTPServer):
    answers(httpserver, "/data", Response(status=204))
    with fast(httpserver) as api:
        assert api.get_json() is None


def test_the_rate_limit_spaces_requests_out(httpserver: HTTPServer):
    answers(httpserver, "/data", Response("[]"))
    begun = time.monotonic()
    with fast(httpserver, rate_limit=10) as api:
        for _ in range(5):
            api.get_json()
    assert time.monotonic() - begun >= 0.39


# --- auth -----------------------------------------------------------------------------

AUTH = {
    "bearer": {"auth_type": "bearer_token", "token": SECRET},
    "basic": {"auth_type": "basic", "username": "ann", "password": SECRET},
    "key in a header": {"auth_type": "api_key", "api_key": SECRET, "api_key_name": "X-Key"},
    "key in the query": {
        "auth_type": "api_key",
        "api_key": SECRET,
        "api_key_name": "key",
        "api_key_in": "query",
    },
}


def presented(request: Request) -> str | None:
    """The secret as the server got it, whichever way it came."""
    header = request.headers.get("Authorization", "")
    if header.startswith("Basic "):
        return base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")[2]
    bearer = header.removeprefix("Bearer ") or None
    return bearer or request.headers.get("X-Key") or request.args.get("key")


@pytest.mark.parametrize("auth", AUTH.values(), ids=AUTH)
def test_each_kind_of_auth_reaches_the_server(httpserver: HTTPServer, auth: dict):
    asked = answers(httpserver, "/data", Response("[]"))
    with fast(httpserver, **auth) as api:
        api.get_json(params={"day": "1"})
    assert presented(asked[0]) == SECRET
    assert asked[0].args["day"] == "1"


@pytest.mark.parametrize("auth", AUTH.values(), ids=AUTH)
def test_no_error_and_no_log_line_shows_the_secret(httpserver: HTTPServer, auth: dict, caplog):
    def echo(request: Request) -> Response:
        return Response(f"bad request: {request.url} {dict(request.headers)}", status=500)

    httpserver.expect_request("/data").respond_with_handler(echo)
    httpserver.expect_request("/text").respond_with_handler(
        lambda request: Response(f"you sent {presented(request)}")
    )
    told = ""
    with caplog.at_level(logging.DEBUG), fast(httpserver, max_retries=1, **auth) as api:
        told += repr(api) + repr(api.settings)
        for url in ("", httpserver.url_for("/text"), "http://127.0.0.1:9/"):
            with pytest.raises(HttpError) as caught:
                api.get_json(url)
            told += "".join(traceback.format_exception(caught.value)) + repr(caught.value)
            assert caught.value.__context__ is None or isinstance(
                caught.value.__context__, HttpError
            )
    told += "".join(record.getMessage() for record in caplog.records if record.name != "werkzeug")
    encoded = base64.b64encode(f"ann:{SECRET}".encode()).decode()
    for form in (SECRET, encoded, "s3cr3t", httpx.QueryParams(k=SECRET)["k"]):
        assert form not in told
    assert "[secret]" in told


@pytest.mark.parametrize("auth", AUTH.values(), ids=AUTH)
def test_a_redirect_to_another_host_does_not_get_the_secret(httpserver: HTTPServer, auth: dict):
    with HTTPServer(port=0) as other:
        elsewhere = answers(other, "/there", Response("[]"))
        answers(
            httpserver, "/data", Response(status=302, headers={"Location": other.url_for("/there")})
        )
        with fast(httpserver, **auth) as api:
            assert api.get_json() == []
            assert api.get_json(other.url_for("/there")) == []
    assert [presented(request) for request in elsewhere] == [None, None]


def redirect(address: str) -> Response:
    return Response(status=302, headers={"Location": address})


def test_headers_parameters_and_cookies_stay_with_their_host(httpserver: HTTPServer):
    with HTTPServer(port=0) as other:
        there = answers(other, "/there", redirect(httpserver.url_for("/back")), Response("[]"))
        here = answers(httpserver, "/data", redirect(other.url_for("/there")))
        back = answers(httpserver, "/back", Response("[]"))
        settings = {
            "headers": {"X-Mine": SECRET, "Cookie": f"a={SECRET}", "User-Agent": "ours"},
            "params": {"sig": SECRET},
        }
        with fast(httpserver, **settings) as api:
            assert api.get_json(headers={"X-Once": SECRET}) == []
            api.get_json(other.url_for("/there"))
        with fast(httpserver) as api:
            api.cookies.set("a", SECRET)
            assert api.get_json() == []
    assert here[0].args["sig"] == here[0].headers["X-Mine"] == SECRET
    assert [request.cookies.get("a") for request in here] == [SECRET, SECRET]
    # Its own are back as soon as the way leads back.
    assert back[0].headers["X-Mine"] == back[0].headers["X-Once"] == SECRET
    assert len(there) == 3
    for request in there:
        assert SECRET not in request.url
        assert SECRET not in str(request.headers)
    assert there[0].headers["User-Agent"] == "ours"


def test_a_header_of_one_request_goes_where_that_request_does(httpserver: HTTPServer):
    asked = answers(httpserver, "/back", Response("[]"))
    with HTTPServer(port=0) as other:
        there = answers(other, "/there", redirect(httpserver.url_for("/back")))
        with fast(httpserver) as api:
            api.get_json(other.url_for("/there"), headers={"X-Theirs": SECRET})
    assert there[0].headers["X-Theirs"] == SECRET
    assert "X-Theirs" not in asked[0].headers


@pytest.mark.parametrize("way", ["link", "cursor"])
@pytest.mark.parametrize("configured", [True, False], ids=["url", "no url"])
def test_a_next_page_elsewhere_gets_nothing_of_ours(
    httpserver: HTTPServer, way: str, configured: bool
):
    with HTTPServer(port=0) as other:
        elsewhere = answers(other, "/there", Response('{"items": [2]}'))
        page = Response(f'{{"items": [1], "next": "{other.url_for("/there")}"}}')
        page.headers["Link"] = f'<{other.url_for("/there")}>; rel="next"'
        here = answers(httpserver, "/data", page)
        mine = {"headers": {"X-Mine": SECRET}, "params": {"sig": SECRET}}
        address = httpserver.url_for("/data")
        with client({"url": address if configured else ""}, **mine) as api:
            api.cookies.set("a", SECRET)
            pages = link_pages if way == "link" else cursor_pages
            found = list(pages(api, "" if configured else address, items="items"))
    assert [page["items"] for page in found] == [[1], [2]]
    assert here[0].headers["X-Mine"] == here[0].args["sig"] == here[0].cookies["a"] == SECRET
    assert SECRET not in f"{elsewhere[0].url}{elsewhere[0].headers}"


def test_a_host_has_the_cookies_that_it_set(httpserver: HTTPServer):
    welcome = Response("[]", headers={"Set-Cookie": "theirs=1"})
    with HTTPServer(host="localhost", port=0) as other:
        there = answers(other, "/there", welcome)
        answers(httpserver, "/data", redirect(other.url_for("/there")))
        with client({"url": f"http://127.0.0.1:{httpserver.port}/data"}) as api:
            api.cookies.set("a", SECRET)
            api.get_json()
            api.get_json()
    assert [dict(request.cookies) for request in there] == [{}, {"theirs": "1"}]


@pytest.mark.parametrize("auth", ["bearer_token", "basic", "api_key"])
def test_auth_without_its_secret_is_refused_before_anything_is_sent(auth: str):
    with pytest.raises(ConfigurationError, match=f"auth_type {auth} needs"):
        client({"url": "https://example.org", "auth_type": auth})


def test_a_secret_with_a_line_break_is_refused_without_showing_it():
    with pytest.raises(
        ConfigurationError, match="token begins or ends with a line break"
    ) as caught:
        client(url="https://example.org", auth_type="bearer_token", token=f"{SECRET}\n")
    assert SECRET not in str(caught.value)


# --- settings -------------------------------------------------------------------------


def test_settings_come_from_a_whole_configuration(httpserver: HTTPServer):
    config = {
        "workflow": {"name": "My Workflow"},
        "ingestion": {
            "source": {
                "type": "api",
                "url": httpserver.url_for("/data"),
                "auth_type": "bearer_token",
                "token": SECRET,
            },
            "parameters": {"batch_size": "100", "max_retries": 7},
        },
    }
    for given in (config, config["ingestion"]):
        with client(given, max_retries=1) as api:
            assert api.settings.batch_size == 100
            assert api.settings.max_retries == 1
            assert api.settings.url == httpserver.url_for("/data")


def test_wrong_settings_are_all_named_at_once():
    with pytest.raises(ConfigurationError) as caught:
        client({"url": "example.org", "timeout": 0, "auth_type": "oauth", "token": SECRET})
    text = str(caught.value)
    assert all(name in text for name in ("url", "timeout", "auth_type", "bearer_token"))
    assert SECRET not in text


def test_a_misspelt_setting_is_answered_with_the_right_one():
    with pytest.raises(ConfigurationError, match="Did you mean `max_retries`"):
        client(max_retry=3)


def test_the_configured_address_is_asked_for_as_it_stands(httpserver: HTTPServer):
    asked = answers(httpserver, "/service/query", Response("[]"))
    with fast(httpserver, "/service/query?format=json", params={"v": 2}) as api:
        api.get_json(params={"day": None, "n": 1})
    assert asked[0].full_path == "/service/query?format=json&v=2&n=1"


# --- paging ---------------------------------------------------------------------------

NUMBERS = list(range(25))


def served(request: Request, first: int, size: int) -> list[int]:
    """At most ten numbers, however many are asked for, as careful servers do."""
    assert request.args.get("kind") == "all"
    return NUMBERS[first : first + min(size, 10)]


def test_pages_by_number_until_one_is_empty(httpserver: HTTPServer):
    def handle(request: Request) -> Response:
        page, size = int(request.args["page"]), int(request.args["per_page"])
        return Response(str(served(request, (page - 1) * size, size)))

    httpserver.expect_request("/data").respond_with_handler(handle)
    with fast(httpserver, batch_size=10) as api:
        pages = list(number_pages(api, params={"kind": "all"}))
    assert [len(page) for page in pages] == [10, 10, 5]
    assert list(itertools.chain(*pages)) == NUMBERS


def test_pages_by_number_end_at_a_404(httpserver: HTTPServer):
    answers(httpserver, "/data", Response("[1]"), Response("[2]"), Response(status=404))
    with fast(httpserver) as api:
        assert list(number_pages(api)) == [[1], [2]]


def test_a_404_on_the_first_page_is_an_error(httpserver: HTTPServer):
    answers(httpserver, "/data", Response(status=404))
    with fast(httpserver) as api, pytest.raises(HttpError, match="Check the url"):
        list(number_pages(api))


@pytest.mark.parametrize("size", [7, 10, 100])
def test_pages_by_offset_lose_nothing_when_the_server_gives_less(httpserver: HTTPServer, size: int):
    def handle(request: Request) -> Response:
        found = served(request, int(request.args["offset"]) - 1, int(request.args["limit"]))
        return Response(f'{{"data": {{"results": {found}}}}}')

    httpserver.expect_request("/data").respond_with_handler(handle)
    with fast(httpserver, batch_size=size) as api:
        pages = offset_pages(api, params={"kind": "all"}, items="data.results", start=1)
        assert [n for page in pages for n in page["data"]["results"]] == NUMBERS


@pytest.mark.parametrize("style", ["token", "address"])
def test_pages_by_cursor(httpserver: HTTPServer, style: str):
    def handle(request: Request) -> Response:
        first = int(request.args.get("after", 0))
        following = None
        if first + 10 < len(NUMBERS):
            following = f'"{first + 10}"'
            if style == "address":
                following = f'"/data?kind=all&after={first + 10}"'
        items = served(request, first, 10)
        return Response(f'{{"items": {items}, "meta": {{"next": {following or "null"}}}}}')

    httpserver.expect_request("/data").respond_with_handler(handle)
    with fast(httpserver) as api:
        pages = cursor_pages(
            api,
            params={"kind": "all"},
            items="items",
            cursor="meta.next",
            cursor_param="after",
        )
        assert [n for page in pages for n in page["items"]] == NUMBERS


def test_pages_by_link_header(httpserver: HTTPServer):
    def handle(request: Request) -> Response:
        first = int(request.args.get("from", 0))
        response = Response(str(served(request, first, 10)))
        if first + 10 < len(NUMBERS):
            response.headers["Link"] = (
                f'</data?kind=all&from={first + 10}>; rel="next", </data>; rel="first"'
            )
        return response

    httpserver.expect_request("/data").respond_with_handler(handle)
    with fast(httpserver, params={"v": "1"}) as api:
        assert list(itertools.chain(*link_pages(api, params={"kind": "all"}))) == NUMBERS


def test_a_server_that_ignores_the_offset_is_an_error_and_not_an_endless_loop(
    httpserver: HTTPServer,
):
    answers(httpserver, "/data", Response("[1, 2, 3]"))
    with fast(httpserver) as api:
        for pages in (offset_pages(api), number_pages(api)):
            with pytest.raises(HttpError, match="the same page again"):
                list(pages)


def test_a_cursor_or_link_that_goes_in_circles_is_an_error(httpserver: HTTPServer):
    turn = itertools.count()

    def handle(_: Request) -> Response:
        n = next(turn)
        return Response(
            f'{{"items": [{n}], "next": "{"ab"[n % 2]}"}}',
            headers={"Link": f'</data?{n % 2}>; rel="next"'},
        )

    httpserver.expect_request("/data").respond_with_handler(handle)
    with fast(httpserver) as api:
        with pytest.raises(HttpError, match="its cursor repeats"):
            list(cursor_pages(api, items="items"))
        with pytest.raises(HttpError, match="next link repeats"):
            list(link_pages(api, items="items"))


def test_a_page_without_the_list_says_what_it_holds(httpserver: HTTPServer):
    answers(httpserver, "/data", Response('{"error": "none", "results": 3}'))
    with (
        fast(httpserver) as api,
        pytest.raises(HttpError, match=r"no list 'results'; it holds \['error', 'results'\]"),
    ):
        list(offset_pages(api, items="results"))
