"""The notebooks, run as by hand: the embedded week, the live service, and bad data."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pandas as pd
import pytest
from papermill import PapermillExecutionError
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

pytestmark = pytest.mark.slow

PAGE = 400


class EventService:
    """USGS's FDSN event service, as far as we ask it, over the snapshot.

    Args:
        snapshot: the GeoJSON to serve.
        failures: answers to give first, in place of a page.
    """

    def __init__(self, snapshot: dict, failures: list[Response] | None = None) -> None:
        self.features = sorted(snapshot["features"], key=lambda f: f["properties"]["time"])
        self.failures = list(failures or [])
        self.asked: list[dict[str, str]] = []

    def __call__(self, request: Request) -> Response:
        self.asked.append(dict(request.args))
        if self.failures:
            return self.failures.pop(0)
        query = request.args
        assert query["format"] == "geojson"
        assert query["orderby"] == "time-asc"
        limit, offset = int(query["limit"]), int(query["offset"])
        if not 1 <= limit <= 20000 or offset < 1:
            return Response(f'Bad limit value "{limit}". Valid values are 1 to 20000.', status=400)
        since, until = (
            datetime.fromisoformat(query[name]).replace(tzinfo=UTC).timestamp() * 1000
            for name in ("starttime", "endtime")
        )
        found = [
            feature
            for feature in self.features
            if since <= feature["properties"]["time"] <= until
            and feature["properties"]["mag"] >= float(query.get("minmagnitude", -99))
        ]
        page = {"type": "FeatureCollection", "features": found[offset - 1 : offset - 1 + limit]}
        return Response(json.dumps(page), content_type="application/json")


@pytest.fixture
def serve(by_hand, httpserver: HTTPServer) -> Callable[..., dict]:
    """Put a handler where the live service would be; returns ingest's parameters for it."""
    config = by_hand.project.notebooks / "earthquakes" / "config.yaml"
    text = config.read_text(encoding="utf-8")
    assert "batch_size: 2000" in text
    text = text.replace("batch_size: 2000", f"retry_wait: 0.01\n    batch_size: {PAGE}")
    config.write_text(text, encoding="utf-8")

    def start(handler: Callable[[Request], Response]) -> dict:
        httpserver.expect_request("/fdsnws/event/1/query").respond_with_handler(handler)
        return {
            "source": "api",
            "api_url": httpserver.url_for("/fdsnws/event/1/query"),
            "start": "2018-01-31",
            "end": "2018-02-07",
        }

    return start


def test_the_three_notebooks_run_top_to_bottom_with_their_defaults(by_hand):
    checks = [by_hand.run(stage) for stage in ("ingest", "transform", "explore")]

    assert len(by_hand.query("from earthquakes_raw.events")) == 1707
    clean = by_hand.query("from earthquakes_raw.events_clean")
    assert len(clean) == 1679
    assert clean["event_id"].is_unique
    assert clean["magnitude_band"].value_counts().to_dict() == {
        "below 1": 708,
        "1 to 2": 533,
        "2 to 3": 221,
        "3 to 4": 89,
        "4 to 5": 89,
        "5 and more": 39,
    }
    for of_stage in checks:
        assert of_stage
        assert all(check["passed"] for check in of_stage.values())


def test_parameters_choose_by_magnitude_and_day(by_hand):
    by_hand.run("ingest", min_magnitude=4.5, start="2018-02-01", end="2018-02-03")
    raw = by_hand.query("select *, make_timestamp(time * 1000) as at from earthquakes_raw.events")
    assert 0 < len(raw) < 85
    assert raw["mag"].min() >= 4.5
    assert raw["at"].min() >= pd.Timestamp("2018-02-01")
    assert raw["at"].max() < pd.Timestamp("2018-02-04")


def test_strong_events_alone_still_make_a_whole_notebook(by_hand):
    by_hand.run("ingest", min_magnitude=6)
    by_hand.run("transform")
    checks = by_hand.run("explore")
    assert by_hand.record["events"] == 5
    assert checks["event ids are unique"]["passed"]


def test_nothing_left_fails_the_check_that_stops_the_run(by_hand):
    check = by_hand.run("ingest", min_magnitude=9.9)["there are events"]
    assert (check["passed"], check["severity"]) == (False, "error")


# --- the live service -----------------------------------------------------------------


def test_the_service_is_read_page_by_page_though_it_fails_twice(by_hand, serve, snapshot):
    service = EventService(snapshot, failures=[Response(status=503), Response(status=500)])
    by_hand.run("ingest", **serve(service))

    offsets = [int(query["offset"]) for query in service.asked]
    assert offsets == [1, 1, 1, 401, 801, 1201, 1601, 1708]
    assert {query["limit"] for query in service.asked} == {str(PAGE)}
    raw = by_hand.query("from earthquakes_raw.events order by id")
    assert raw["id"].to_list() == sorted(feature["id"] for feature in snapshot["features"])
    by_id = raw.set_index("id")
    for feature in snapshot["features"][::100]:
        row, given = by_id.loc[feature["id"]], feature["properties"]
        for name in ("time", "updated", "tz", "mag", "place", "status", "url"):
            assert row[name] == given[name]
        position = [row["longitude"], row["latitude"], row["depth"]]
        assert position == feature["geometry"]["coordinates"]

    by_hand.run("ingest")
    from_file = by_hand.query("from earthquakes_raw.events order by id")
    pd.testing.assert_frame_equal(raw, from_file)


def test_the_service_chooses_by_magnitude(by_hand, serve, snapshot):
    service = EventService(snapshot)
    by_hand.run("ingest", **serve(service), min_magnitude=5)
    assert by_hand.record["received"] == 39
    assert {query["minmagnitude"] for query in service.asked} == {"5"}


def lacking_magnitude(snapshot: dict) -> Response:
    feature = json.loads(json.dumps(snapshot["features"][0]))
    del feature["properties"]["mag"]
    return Response(json.dumps({"type": "FeatureCollection", "features": [feature]}))


BAD_ANSWERS = {
    "a login page": (
        lambda _: Response("<html>Please log in</html>", content_type="text/html"),
        "the answer is not JSON",
        "Please log in",
    ),
    "another API": (
        lambda _: Response('{"features": [{"id": 1}], "type": "Topology"}'),
        "the answer is not GeoJSON: its type is 'Topology'",
        "Check api_url",
    ),
    "an event without magnitude": (lacking_magnitude, "lacks mag", "format changed"),
    "nothing but failures": (
        lambda _: Response("down", status=503),
        "the server answered 503 SERVICE UNAVAILABLE: down",
        "raise max_retries",
    ),
}


@pytest.mark.parametrize("bad", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_a_bad_answer_stops_the_stage_in_words_and_leaves_the_table(
    by_hand, serve, snapshot, bad: tuple
):
    answer, message, hint = bad
    by_hand.put("earthquakes_raw.events", pd.DataFrame({"id": ["kept"]}))
    parameters = serve(lambda _: answer(snapshot))
    with pytest.raises(PapermillExecutionError) as caught:
        by_hand.run("ingest", **parameters)
    assert message in str(caught.value)
    assert hint in str(caught.value)
    assert by_hand.query("from earthquakes_raw.events")["id"].to_list() == ["kept"]


# --- cleaning -------------------------------------------------------------------------

NORMAL = {
    "id": "normal",
    "mag": 2.0,
    "mag_type": "ml",
    "depth": 5.0,
    "sig": 60,
    "felt": None,
    "net": "ci",
    "type": "earthquake",
    "place": "4km W of Castaic, CA",
    "longitude": -118.7,
    "latitude": 34.5,
    "tz": -480,
    "status": "reviewed",
    "tsunami": 0,
    "url": "https://earthquake.usgs.gov/",
    "time": 1517966773840,  # 2018-02-07 01:26 UTC, still the 6th in California
    "updated": 1517966996303,
}


def delivered(*changes: dict) -> pd.DataFrame:
    """A raw table: one normal event, then one per change to it."""
    rows = [NORMAL, *({**NORMAL, "id": f"odd{n}", **change} for n, change in enumerate(changes))]
    return pd.DataFrame(rows).astype(
        {"mag": "Float64", "felt": "Int64", "tz": "Int64", "time": "Int64", "updated": "Int64"}
    )


def test_impossible_events_are_left_out_with_their_reasons_counted(by_hand):
    by_hand.put(
        "earthquakes_raw.events",
        delivered(
            {"latitude": 91.0},
            {"longitude": 200.0},
            {"depth": -11.0},
            {"depth": 900.0},
            {"mag": 11.0},
            {"mag": None},
            {"time": NORMAL["updated"] + 1},
            {"time": None},
            {"depth": None},
            {"latitude": -90.0, "longitude": 180.0, "depth": 800.0, "mag": -3.0},
        ),
    )
    checks = by_hand.run("transform")
    kept = by_hand.query("select event_id from earthquakes_raw.events_clean order by 1")
    assert kept["event_id"].to_list() == ["normal", "odd8", "odd9"]
    assert by_hand.record["rejected_for"] == {
        "depth outside -10 to 800 km": 2,
        "latitude outside -90 to 90": 1,
        "longitude outside -180 to 180": 1,
        "magnitude outside -3 to 10": 1,
        "no magnitude": 1,
        "later than its own last update": 1,
        "no time": 1,
    }
    assert not checks["few events are impossible"]["passed"]
    account = checks["every event is accounted for"]
    assert account["passed"]
    assert account["metadata"]["left out as impossible"] == 8
    assert min(account["metadata"].values()) >= 0, (
        "people read these, and nothing is delivered less"
    )


def test_of_duplicates_the_one_updated_last_holds(by_hand):
    later = NORMAL["updated"] + 60_000
    by_hand.put(
        "earthquakes_raw.events",
        delivered(
            {"id": "twice", "mag": 3.1, "updated": later},
            {"id": "twice", "mag": 2.9},
        ),
    )
    checks = by_hand.run("transform")
    clean = by_hand.query("from earthquakes_raw.events_clean where event_id = 'twice'")
    assert clean["magnitude"].to_list() == [3.1]
    assert by_hand.record["duplicates"] == 1
    check = checks["no id comes twice"]
    assert (check["passed"], check["severity"]) == (False, "warn")


def test_other_events_than_earthquakes_are_left_out_unless_asked_for(by_hand):
    blast = {"type": "quarry blast"}
    by_hand.put("earthquakes_raw.events", delivered(blast, blast, {"type": "explosion"}))
    by_hand.run("transform", keep_types=["earthquake", "explosion"])
    assert by_hand.record["left_out"] == {"quarry blast": 2}
    kept = by_hand.query("select event_type from earthquakes_raw.events_clean order by 1")
    assert kept["event_type"].to_list() == ["earthquake", "explosion"]


def test_band_region_and_local_day_are_added(by_hand):
    by_hand.put(
        "earthquakes_raw.events",
        delivered(
            {"mag": 0.99},
            {"mag": 1.0},
            {"mag": 4.99},
            {"mag": 5.0},
            # The live service gives no offset any more: 178° west is twelve hours behind.
            {"tz": None, "longitude": -178.0, "place": "south of the Fiji Islands"},
            {"tz": None, "longitude": 121.7, "place": "22km NNE of Hualian, Taiwan"},
        ),
    )
    by_hand.run("transform")
    clean = by_hand.query("from earthquakes_raw.events_clean").set_index("event_id")
    assert clean.loc[["odd0", "odd1", "odd2", "odd3"], "magnitude_band"].to_list() == [
        "below 1",
        "1 to 2",
        "4 to 5",
        "5 and more",
    ]
    days = pd.to_datetime(clean["local_day"]).dt.day
    assert days[["normal", "odd4", "odd5"]].to_list() == [6, 6, 7]
    assert clean.loc[["normal", "odd4", "odd5"], "region"].to_list() == [
        "California",
        "South of the Fiji Islands",
        "Taiwan",
    ]
