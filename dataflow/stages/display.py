"""How a result looks in a notebook, for people and for the machine."""

from __future__ import annotations

import datetime
import html
import json
import math
import os
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from dataflow.errors import ConfigurationError

MIME = "application/vnd.dataflow.result+json"
# A kernel's message with a result, beside the box that people see: a display can be cleared,
# captured and cut off. Sent where the engine has set the variable, and so listens.
RESULT_MESSAGE = "dataflow_result"
LISTENS_VARIABLE = "DATAFLOW_ENGINE_LISTENS"


class StageSkipped(BaseException):
    """Ends a stage early, as a success; no error, so that no `except Exception` takes it for one."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows instead of a traceback: this is not an error."""
        return [f"Stage skipped: {self}"]


@dataclass(frozen=True)
class Result:
    """One thing a stage said: a record, a check or that it skipped the rest."""

    kind: Literal["record", "check", "skip"]
    name: str | None = None
    table: str | None = None
    passed: bool | None = None
    severity: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The result as JSON can have it; figures JSON has no type for become text."""
        data = {key: value for key, value in asdict(self).items() if value is not None}
        data["metadata"] = {str(key): plain(value) for key, value in self.metadata.items()}
        return data

    @property
    def headline(self) -> str:
        """One line that says it."""
        if self.kind == "skip":
            return f"Stage skipped: {self.name}"
        if self.kind == "check":
            if self.passed:
                return f"✓ {self.name}"
            return f"{'✗' if self.severity == 'error' else '!'} {self.name}"
        return self.table or "Recorded"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        data = self.to_json()
        figures = data["metadata"]
        shown = ", ".join(f"{key} {_short(value)}" for key, value in figures.items())
        return {
            MIME: data,
            "text/plain": f"{self.headline}: {shown}" if shown else self.headline,
            "text/html": self._html(figures),
        }

    def _html(self, figures: dict[str, Any]) -> str:
        colour = "#6b7280"
        if self.kind == "check":
            colour = (
                "#15803d" if self.passed else "#b91c1c" if self.severity == "error" else "#b45309"
            )
        cells = "".join(
            f'<span style="margin-left:1.2em;color:#6b7280">{html.escape(str(key))}</span> '
            f"<b>{html.escape(_short(value))}</b>"
            for key, value in figures.items()
        )
        return (
            f'<div style="border-left:3px solid {colour};padding:.3em .8em;margin:.2em 0;'
            f'font-family:system-ui,sans-serif;font-size:13px">'
            f'<span style="color:{colour};font-weight:600">{html.escape(self.headline)}</span>'
            f"{cells}</div>"
        )


# Who else is told of results: the step that runs an op, where no notebook keeps them.
listener: ContextVar[Callable[[Result], None] | None] = ContextVar("listener", default=None)


def show(result: Result) -> None:
    """Display `result`: in a notebook as a box, elsewhere as a line of text."""
    hear = listener.get()
    if hear is not None:
        hear(result)
    try:
        from IPython import get_ipython
    except ImportError:
        get_ipython = lambda: None  # noqa: E731
    shell = get_ipython()
    listened = LISTENS_VARIABLE in os.environ
    if listened and (shell is None or shell.kernel.session.pid != os.getpid()):
        # Nobody would hear it, and a failed check would pass.
        raise ConfigurationError(
            "stage.record, stage.check and stage.skip work in the notebook's own process, not in "
            "one that it started",
            hint="Return the result to the notebook, and record or check it there.",
        )
    if shell is None:
        print(result._repr_mimebundle_()["text/plain"])
        return
    from IPython.display import display

    if listened:
        kernel = shell.kernel
        kernel.session.send(
            kernel.iopub_socket,
            RESULT_MESSAGE,
            content=result.to_json(),
            parent=kernel.get_parent("shell"),
        )
    display(result)


def plain(value: Any) -> Any:
    """`value` as JSON can have it: numpy's and pandas' scalars become Python's."""
    if hasattr(value, "item") and callable(value.item) and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return str(value)


def _short(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return text if len(text) <= 80 else text[:79] + "…"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"
