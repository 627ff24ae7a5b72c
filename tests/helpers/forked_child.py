"""What the children of test_forked.py call."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def facts() -> dict[str, Any]:
    """What a process sees of itself."""
    import random

    seen = {
        "environment": {n: v for n, v in os.environ.items() if n != "LC_CTYPE"},
        "folder": str(Path.cwd()),
        "path": sys.path,
        "argv": sys.argv,
        "flags": str(sys.flags),
        "handlers": {int(n): str(signal.getsignal(n)) for n in signal.valid_signals()},
        "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "files": sorted(int(name) for name in os.listdir("/proc/self/fd") if int(name) < 20),  # noqa: PTH208
        "umask": os.umask(0),
        "limits": Path("/proc/self/limits").read_text("utf-8"),
        "leads": (os.getsid(0), os.getpgid(0)) == (os.getpid(), os.getpid()),
        "zone": time.tzname,
        "random": random.random(),
        "shown": sorted(Path("/proc/self/environ").read_text("utf-8").rstrip("\0").split("\0")),
        "main": [name for name in vars(sys.modules["__main__"]) if not name.startswith("__")],
    }
    if "numpy" in sys.modules:
        seen["numpy"] = float(sys.modules["numpy"].random.rand())
        a = sys.modules["numpy"].ones((400, 400))
        seen["product"] = float((a @ a)[0, 0])
    return seen


def tell(path: str) -> int:
    """Write the facts to a file; ends with exit code 7."""
    print("said to stdout")
    Path(path).write_text(json.dumps(facts()), "utf-8")
    return 7


def linger(path: str) -> None:
    """Start something in the same group, say so, and stay."""
    below = subprocess.Popen(["sleep", "600"])
    whole = Path(path)
    draft = whole.with_suffix(".draft")
    draft.write_text(f"{os.getpid()} {below.pid}", "utf-8")
    draft.rename(whole)
    time.sleep(600)
