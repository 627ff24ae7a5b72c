"""From a place in words to the country, US state or sea it lies in."""

from __future__ import annotations

import re

STATES = {
    "AK": "Alaska", "AL": "Alabama", "AR": "Arkansas", "AZ": "Arizona", "CA": "California",
    "CO": "Colorado", "CT": "Connecticut", "DC": "District of Columbia", "DE": "Delaware",
    "FL": "Florida", "GA": "Georgia", "HI": "Hawaii", "IA": "Iowa", "ID": "Idaho",
    "IL": "Illinois", "IN": "Indiana", "KS": "Kansas", "KY": "Kentucky", "LA": "Louisiana",
    "MA": "Massachusetts", "MD": "Maryland", "ME": "Maine", "MI": "Michigan", "MN": "Minnesota",
    "MO": "Missouri", "MS": "Mississippi", "MT": "Montana", "NC": "North Carolina",
    "ND": "North Dakota", "NE": "Nebraska", "NH": "New Hampshire", "NJ": "New Jersey",
    "NM": "New Mexico", "NV": "Nevada", "NY": "New York", "OH": "Ohio", "OK": "Oklahoma",
    "OR": "Oregon", "PA": "Pennsylvania", "PR": "Puerto Rico", "RI": "Rhode Island",
    "SC": "South Carolina", "SD": "South Dakota", "TN": "Tennessee", "TX": "Texas", "UT": "Utah",
    "VA": "Virginia", "VI": "U.S. Virgin Islands", "VT": "Vermont", "WA": "Washington",
    "WI": "Wisconsin", "WV": "West Virginia", "WY": "Wyoming",
}  # fmt: skip
"""The abbreviations that place texts use for parts of the United States."""

UNITED_STATES = frozenset(STATES.values())

UNKNOWN = "Unknown"

_ABBREVIATIONS = {**STATES, "MX": "Mexico"}
_BEARING = re.compile(r"^\d+(\.\d+)?\s*km\s+[NESW]{1,3}\s+of\s+", re.IGNORECASE)


def region_of(place: str | None) -> str:
    """The region that `place` ends with, spelt one way.

    >>> region_of("4km W of Castaic, CA")
    'California'
    >>> region_of("southern Mid-Atlantic Ridge")
    'Southern Mid-Atlantic Ridge'

    Args:
        place: such as "4km W of Castaic, CA" or "Banda Sea"; anything without letters is unknown.
    """
    text = place.strip() if isinstance(place, str) else ""
    last = _BEARING.sub("", text.rpartition(",")[2].strip())
    last = _ABBREVIATIONS.get(last, last).removesuffix(" region").strip()
    if not any(character.isalpha() for character in last):
        return UNKNOWN
    return last[0].upper() + last[1:]
