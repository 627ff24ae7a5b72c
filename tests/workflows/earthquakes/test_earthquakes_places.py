"""The region that a place's text names."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

MODULE = Path(__file__).parents[3] / "notebooks" / "earthquakes" / "places.py"
spec = importlib.util.spec_from_file_location("earthquakes_places", MODULE)
assert spec is not None
assert spec.loader is not None
places = importlib.util.module_from_spec(spec)
spec.loader.exec_module(places)


@pytest.mark.parametrize(
    ("place", "region"),
    [
        ("4km W of Castaic, CA", "California"),
        ("4 km W of Castaic, California", "California"),
        ("98km WNW of Talkeetna, Alaska", "Alaska"),
        ("12km SE of Puebla, B.C., MX", "Mexico"),
        ("1km E of Visokoi Island, South Georgia and more", "South Georgia and more"),
        ("Line Islands, Kiribati region", "Kiribati"),
        ("Fiji region", "Fiji"),
        ("southern Mid-Atlantic Ridge", "Southern Mid-Atlantic Ridge"),
        ("Banda Sea", "Banda Sea"),
        ("120km SSW of Adak", "Adak"),
        ("  5km N of Austin, Nevada  ", "Nevada"),
        ("", "Unknown"),
        ("12, ", "Unknown"),
        (None, "Unknown"),
        (float("nan"), "Unknown"),
    ],
)
def test_the_region_is_spelt_one_way(place: object, region: str):
    assert places.region_of(place) == region


def test_every_abbreviation_in_the_snapshot_is_known(snapshot):
    regions = {places.region_of(event["properties"]["place"]) for event in snapshot["features"]}
    assert {region for region in regions if len(region) <= 2} == set()
    assert places.UNKNOWN not in regions
