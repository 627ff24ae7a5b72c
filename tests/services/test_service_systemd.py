"""`dataflow service systemd`: units that systemd accepts."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from missing import not_tested
from projects import dataflow, make_project

from dataflow.errors import ConfigurationError
from dataflow.services.catalog import SERVICES
from dataflow.services.systemd import units

SYSTEMD = shutil.which("systemd-analyze")


def test_systemd_accepts_the_units_whatever_the_folder_is_called(tmp_path: Path) -> None:
    project = make_project(tmp_path / "50% of $HOME, ü", {})
    names = [f"dataflow-50-of-HOME-{name}.service" for name in ("dagster", "evidence")]

    printed = dataflow(project, "service", "systemd", "--user", "games")
    written = dataflow(project, "service", "systemd", "--user", "games", "--output", "units")

    assert written.returncode == printed.returncode == 0, written.stderr + printed.stderr
    assert written.stdout.split() == [f"units/{name}" for name in names]
    texts = [(project.root / "units" / name).read_text("utf-8") for name in names]
    assert printed.stdout == "\n".join(f"# {n}\n{t}" for n, t in zip(names, texts, strict=True))
    command = Path(sys.executable).with_name("dataflow")
    assert f'ExecStart=:"{command}" service start dagster\n' in texts[0]
    assert written.stderr.splitlines()[1:] == [
        f"  chown -R games: '{project.root}'",
        f"  cp units/{names[0]} units/{names[1]} /etc/systemd/system",
        "  systemctl daemon-reload",
        f"  systemctl enable --now {names[0]} {names[1]}",
    ]
    if SYSTEMD is None:
        not_tested("whether systemd accepts the units, as systemd-analyze is not installed")
    verified = subprocess.run(
        [SYSTEMD, "verify", "--man=no", *(project.root / "units" / name for name in names)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")


@pytest.mark.parametrize(
    ("user", "folder", "said"),
    [
        ("root", "shop", "may not run as root"),
        ("a b", "shop", "not the name of a user"),
        ("games", "Ann's shop", "systemd takes no path with quotes"),
    ],
)
def test_no_unit_is_made_that_systemd_would_refuse_or_root_would_run(
    tmp_path: Path, user: str, folder: str, said: str
) -> None:
    project = make_project(tmp_path / folder, {})

    with pytest.raises(ConfigurationError, match=said):
        units(project, [SERVICES["dagster"]], user)
