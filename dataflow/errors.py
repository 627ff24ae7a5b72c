"""Every error a user can meet, with the exit code it ends a command with.

::

    DataflowError                  1   something failed while it ran
    ├── ConfigurationError         2   the project or the command is wrong; nothing ran
    │   ├── ProjectNotFound
    │   ├── WorkflowNotFound
    │   └── ParameterError
    ├── StageFailed                    a notebook's cell raised, timed out, or its kernel died
    ├── RunFailed                      a run ended without success
    ├── WarehouseError
    │   └── WarehouseLocked            somebody else held the write lock for too long
    ├── DashboardError
    └── ServiceError

An error says what is wrong (`message`), where (`where`: file and line, or notebook and
cell) and what to do next (`hint`). Code raises; `dataflow.cli.main` turns it into words.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2


class DataflowError(Exception):
    """Something failed while it ran.

    Args:
        message: what is wrong, one sentence.
        where: the place: `path`, `path:line`, or `notebook, cell 7`.
        hint: what to do next, an imperative sentence.
    """

    exit_code = EXIT_FAILED

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.message if self.where is None else f"{self.where}: {self.message}"]
        if self.hint:
            lines.append(f"  → {self.hint}")
        return "\n".join(lines)

    def _render_traceback_(self) -> list[str]:
        """IPython's question how to show the error in a notebook: with the author's lines only."""
        from IPython import get_ipython

        shown = copy.copy(self)  # without the errors that led to it, which are in our own code
        shell = get_ipython()
        traceback = _of_author(self.__traceback__)
        return list(shell.InteractiveTB.structured_traceback(type(self), shown, traceback))


def _of_author(traceback: TracebackType | None) -> TracebackType | None:
    """A traceback without the frames of installed packages, DATAFLOW's among them."""
    if traceback is None:
        return None
    rest = _of_author(traceback.tb_next)
    file = Path(traceback.tb_frame.f_code.co_filename)
    installed = "site-packages" in file.parts or file.is_relative_to(Path(__file__).parent)
    if installed:
        return rest
    return TracebackType(rest, traceback.tb_frame, traceback.tb_lasti, traceback.tb_lineno)


@dataclass(frozen=True)
class Fix:
    """A change that repairs a problem for certain, at the problem's place.

    Args:
        kind: `replace` some text in the problem's line, `delete` its cell, or `tag` the cell as
            the one with the parameters.
        label: what it does, an imperative.
        old: what is replaced; the line has it once, as a whole word.
        new: what comes in its place.
    """

    kind: Literal["replace", "delete", "tag"]
    label: str
    old: str = ""
    new: str = ""

    @classmethod
    def replacing(cls, old: str, new: str | None, line: str) -> Fix | None:
        """One that replaces a name in a line; None where it is not clear what to replace."""
        clear = new and len(re.findall(rf"(?<!\w){re.escape(old)}(?!\w)", line)) == 1
        return cls("replace", f"Replace `{old}` by `{new}`", old, str(new)) if clear else None


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a file: what, where, and what to do about it.

    Args:
        message: what is wrong.
        path: the file.
        line: the line, from 1; of a notebook the line in the cell.
        hint: what to do next.
        cell: of a notebook the cell's place in it, from 1.
        parameter: the parameter of a stage that it is about.
        fix: a change that repairs it for certain, if there is one.
    """

    message: str
    path: Path | None = None
    line: int | None = None
    hint: str | None = None
    cell: int | None = None
    parameter: str | None = None
    fix: Fix | None = None

    def where(self, root: Path | None = None) -> str | None:
        """The place as `path:line`, or `path, cell 3, line 2`; from `root` where it is below."""
        if self.path is None:
            return None
        path = self._from(root)
        if self.cell is not None:
            return f"{path}, cell {self.cell}" + (f", line {self.line}" if self.line else "")
        return path if self.line is None else f"{path}:{self.line}"

    def to_json(self, root: Path | None = None) -> dict[str, Any]:
        """The problem for programs; `where` and `path` from `root` where they are below it."""
        return {
            "message": self.message,
            "where": self.where(root),
            "path": self.path and self._from(root),
            "cell": self.cell,
            "line": self.line,
            "hint": self.hint,
            "parameter": self.parameter,
            "fix": asdict(self.fix) if self.fix else None,
        }

    def _from(self, root: Path | None) -> str:
        path = self.path
        assert path is not None
        below = root is not None and path.is_relative_to(root)
        return str(path.relative_to(root) if below else path)  # type: ignore[arg-type]


class ConfigurationError(DataflowError):
    """The project's files or the command are wrong; nothing was run.

    Carries every problem found (`problems`), not just the first.
    """

    exit_code = EXIT_USAGE

    def __init__(
        self,
        message: str,
        *,
        where: str | None = None,
        hint: str | None = None,
        problems: Iterable[Problem] = (),
        root: Path | None = None,
    ) -> None:
        super().__init__(message, where=where, hint=hint)
        self.problems = list(problems)
        self.root = root

    def __str__(self) -> str:
        lines = [super().__str__()]
        for problem in self.problems:
            where = problem.where(self.root)
            lines.append(f"  {where}: {problem.message}" if where else f"  {problem.message}")
            if problem.hint:
                lines.append(f"    → {problem.hint}")
        return "\n".join(lines)


class ProjectNotFound(ConfigurationError):
    """No DATAFLOW project here or in any folder above."""


class WorkflowNotFound(ConfigurationError):
    """No workflow of that name."""


class ParameterError(ConfigurationError):
    """A stage's parameters are unknown, missing or of the wrong type."""


class StageFailed(DataflowError):
    """A stage's notebook did not reach its end."""


class RunFailed(DataflowError):
    """A run ended without success."""


class WarehouseError(DataflowError):
    """The warehouse could not be opened, written or published."""


class WarehouseLocked(WarehouseError):
    """Somebody else held the warehouse's write lock longer than we were willing to wait."""


class DashboardError(DataflowError):
    """The dashboard's data or pages could not be made."""


class ServiceError(DataflowError):
    """A service did not start, or did not stop."""
