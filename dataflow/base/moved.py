"""Repair a virtual environment whose folder was moved, without reinstalling anything.

`make` runs `python -m dataflow.base.moved OLD NEW`, with the environment's old and new folder:
pip writes the absolute path of Python into each command, and that of the project into a list of
places to import from.
"""

from __future__ import annotations

import sys
from pathlib import Path

_LONGEST = 120  # characters of `#!` that every system reads; none reads a space


def set_right(old: str, new: str) -> list[Path]:
    """Replace the path `old` by `new` in the files that name it; returns those files."""
    venv = Path(new)
    candidates = [venv / "pyvenv.cfg", *(venv / "bin").iterdir()]
    changed = [file for file in candidates if _rewrite(file, old, new)]
    # What is installed as `--editable` is named by its own folder, the environment's parent.
    places = [*venv.glob("lib/python*/site-packages/*.pth")]
    places += venv.glob("lib/python*/site-packages/*.dist-info/direct_url.json")
    project, here = str(Path(old).parent), str(venv.parent)
    return changed + [file for file in places if _rewrite(file, project, here)]


def _rewrite(file: Path, old: str, new: str) -> bool:
    """Rewrite `file` with `new` for `old`; hard links to it elsewhere keep the old content."""
    if file.is_symlink() or not file.is_file():
        return False
    try:
        text = file.read_text("utf-8")
    except UnicodeDecodeError:  # a program
        return False
    if old not in text:
        return False
    first, newline, rest = text.replace(old, new).partition("\n")
    # What has a shell in between already names Python in its second line.
    if first.startswith("#!") and new in first and (" " in new or len(first) > _LONGEST):
        first = f"#!/bin/sh\n'''exec' \"{first[2:]}\" \"$0\" \"$@\"\n' '''"
    draft = file.with_name(f".{file.name}.moved")
    draft.write_text(first + newline + rest, "utf-8")
    draft.chmod(file.stat().st_mode)
    draft.replace(file)
    return True


if __name__ == "__main__":
    set_right(sys.argv[1], sys.argv[2])
