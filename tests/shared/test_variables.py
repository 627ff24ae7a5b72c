"""`${VAR}` in configuration."""

from __future__ import annotations

import pytest

from dataflow.errors import ConfigurationError
from dataflow.variables import resolve, unset_variables, variables_in


def test_variables_are_replaced_anywhere_inside_strings():
    value = {"url": "https://${HOST}/v1", "list": ["${HOST}", 3, None]}

    assert resolve(value, {"HOST": "example.org"}) == {
        "url": "https://example.org/v1",
        "list": ["example.org", 3, None],
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${A:-b}", "b"),
        ("${A:-}", ""),
        ("${A:-http://x/y:1}", "http://x/y:1"),
        ("$${A}", "${A}"),
        ("$A and {A}", "$A and {A}"),
    ],
)
def test_defaults_and_escapes(text, expected):
    assert resolve(text, {}) == expected


def test_a_set_variable_wins_over_its_default():
    assert resolve("${A:-b}", {"A": "c"}) == "c"


def test_every_unset_variable_is_named_at_once():
    with pytest.raises(ConfigurationError, match="FIRST, SECOND are not set") as caught:
        resolve({"a": "${FIRST}", "b": ["${SECOND} ${FIRST} ${THIRD:-x}"]}, {})
    assert ".env" in str(caught.value)


def test_the_names_in_a_value_are_found():
    assert list(variables_in({"a": ["${X}", {"b": "${Y:-1}"}], "c": "$${Z}"})) == [
        ("X", None),
        ("Y", "1"),
    ]
    assert unset_variables("${X} ${Y:-1}", {}) == ["X"]
