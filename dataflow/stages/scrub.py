"""Secrets and the machine's paths taken out of whatever is written to disk.

A secret is the value of a `${VAR}` that the workflow's configuration or a parameter names.
It is looked for as it is and in the forms in which it turns up in outputs: JSON- and
Python-escaped, HTML-escaped, URL-encoded, base64 (also in the middle of something longer,
as in a basic-auth header), and cut short, as pandas shows long text.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from dataflow.shared.variables import variables_in

# Replacing shorter values would damage every number and word that contains them.
SHORTEST = 4
# Text cut by a display (pandas: 47 characters and "...") still gives most of a secret away.
CUT_AFTER = 16


class Scrubber:
    """Takes secrets out of text and of anything made of text.

    Args:
        secrets: values by the name of the variable they came from.
        paths: folders of this machine, with what is written in their place.
    """

    def __init__(
        self, secrets: Mapping[str, str] | None = None, paths: Mapping[str, str] | None = None
    ) -> None:
        self._secrets = dict(secrets or {})
        # The longest first: the project may lie in the home folder.
        self._paths = [
            (re.compile(re.escape(path) + r"(?![\w.-])"), shown)
            for path, shown in sorted((paths or {}).items(), key=lambda item: -len(item[0]))
        ]
        names: dict[str, str] = {}
        for name, value in (secrets or {}).items():
            if len(value) >= SHORTEST:
                for form in _forms(value):
                    names.setdefault(form, name)
        self._names = names
        self.longest = max(map(len, names), default=0)
        self._pattern = (
            re.compile("|".join(_pattern(form) for form in sorted(names, key=len, reverse=True)))
            if names
            else None
        )

    def __bool__(self) -> bool:
        return self._pattern is not None or bool(self._paths)

    def with_paths(self, paths: Mapping[str, str]) -> Scrubber:
        """The same, taking the machine's paths out too."""
        return Scrubber(self._secrets, paths)

    def text(self, text: str) -> str:
        """`text` with `${NAME}` in place of every secret, and without the machine's paths."""
        if self._pattern is not None:
            text = self._pattern.sub(self._replacement, text)
        for path, shown in self._paths:
            text = path.sub(lambda match, shown=shown: shown, text)
        return text

    def _replacement(self, match: re.Match[str]) -> str:
        found = match[0]
        name = self._names.get(found) or next(
            name for form, name in self._names.items() if form.startswith(found)
        )
        return "${" + name + "}"

    def tree(self, value: Any) -> Any:
        """`value` with every string inside scrubbed, keys of mappings too.

        Mappings and lists are changed in place where they can be, so that notebook nodes
        stay notebook nodes.
        """
        if not self:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            for key in list(value):
                item = self.tree(value[key])
                clean = self.text(key) if isinstance(key, str) else key
                if clean != key:
                    del value[key]
                value[clean] = item
            return value
        if isinstance(value, list):
            value[:] = [self.tree(item) for item in value]
            return value
        if isinstance(value, tuple):
            return tuple(self.tree(item) for item in value)
        return value


def secrets_in(*values: Any, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The values of the variables that `values` name, by the variables' names.

    Defaults (`${VAR:-default}`) stand in the file already and are no secrets.
    """
    environment = os.environ if environment is None else environment
    return {
        name: environment[name]
        for value in values
        for name, _ in variables_in(value)
        if environment.get(name)
    }


def _forms(value: str) -> Iterable[str]:
    yield value
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield repr(value)[1:-1]
    yield html.escape(value)
    yield quote(value, safe="")
    yield quote(value)
    yield quote_plus(value)
    raw = value.encode()
    if len(raw) >= 6:
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            for offset in range(3):
                # The first and last characters depend on the neighbours; the middle does not.
                text = encode(b"\0" * offset + raw).decode().rstrip("=")
                start = (0, 2, 3)[offset]
                end = len(text) - ((len(raw) + offset) % 3 != 0)
                if end - start >= 6:
                    yield text[start:end]


def _pattern(form: str) -> str:
    if len(form) <= CUT_AFTER * 2:
        return re.escape(form)
    # The whole form, or at least its first characters and as many more as there are.
    rest = ""
    for character in reversed(form[CUT_AFTER:]):
        rest = f"(?:{re.escape(character)}{rest})?"
        if len(rest) > 20_000:
            return re.escape(form)
    return re.escape(form[:CUT_AFTER]) + rest
