"""Build what JupyterLab loads of DATAFLOW from the sources in this folder; `make lab` calls it.

With `--check` it builds in a copy and compares that, byte for byte, with what is committed.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dataflow.dashboard.install import ensure_node
from dataflow.dashboard.node import Node
from dataflow.errors import ConfigurationError, DataflowError
from dataflow.project import Project

LAB = Path(__file__).parent
ROOT = LAB.parent
BUNDLE = "dataflow/lab/labextensions/dataflow-jupyterlab"
SOURCES = ("src", "style", "schema", "package.json", "tsconfig.json", "rspack.config.js")
OLDEST = (20, 19)  # what the bundler asks for
# The lock that node_modules was made from; its content counts, since git changes times.
INSTALLED = LAB / "node_modules" / ".installed"


def main() -> int:
    """Build, or check; exit code 1 when what is committed is not what the sources give.

    A check that needs packages which cannot be had is not made, loudly; in CI that is an error.
    """
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--check", action="store_true", help="change nothing, only compare")
    only_check = arguments.parse_args().check
    try:
        try:
            node = find_node()
            install(node)
        except DataflowError as error:
            if not only_check or os.environ.get("CI"):
                raise
            print(f"!!! NOT CHECKED: whether {BUNDLE} is built: {error} !!!", file=sys.stderr)
            return 0
        if only_check:
            return check(node)
        build(LAB, node)
        return 0
    except DataflowError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def find_node() -> Node:
    """The machine's Node, or the one from PyPI, if it is new enough for the bundler."""
    node = ensure_node(Project.find(ROOT), print)
    if tuple(map(int, node.version.split(".")[:2])) < OLDEST:
        raise ConfigurationError(
            f"building for JupyterLab needs Node {'.'.join(map(str, OLDEST))} or newer: "
            f"{node.path} is {node.version}",
            hint="Install a newer Node, or put it first on the PATH.",
        )
    return node


def install(node: Node) -> None:
    """Make `node_modules` what the lock says; quick when it is that already."""
    lock = LAB / "package-lock.json"
    if INSTALLED.is_file() and filecmp.cmp(lock, INSTALLED, shallow=False):
        return
    print("installing the packages that JupyterLab's panel is built with (a minute)", flush=True)
    done = subprocess.run(
        [*node.npm, "ci", "--ignore-scripts", "--no-progress"], cwd=LAB, env=node.environment(),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise ConfigurationError(
            f"npm could not install the packages of lab/package-lock.json:\n{done.stderr.strip()}",
            hint="Check the network and npm's registry setting, then run it again.",
        )
    shutil.copyfile(lock, INSTALLED)


def build(folder: Path, node: Node) -> None:
    """Compile `folder`/src and bundle it to where package.json says."""
    jupyter = Path(sys.executable).with_name("jupyter")
    environment = node.environment()
    # `jupyter builder` is a program of this environment.
    environment["PATH"] = os.pathsep.join([str(jupyter.parent), environment["PATH"]])
    tsc = folder / "node_modules" / "typescript" / "bin" / "tsc"
    # What was compiled from files that are gone would stay.
    shutil.rmtree(folder / "lib", ignore_errors=True)
    for command in ([node.path, tsc], [jupyter, "builder", "build", "."]):
        done = subprocess.run(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise ConfigurationError(
                f"{' '.join(Path(part).name for part in map(str, command[:2]))} failed:\n"
                f"{done.stdout.strip()}",
                hint="Fix the sources in lab/.",
            )


def check(node: Node) -> int:
    """Build in a copy, and tell what differs from the committed bundle."""
    # Beside the packages: links to them need the same disk.
    with tempfile.TemporaryDirectory(prefix=".check-", dir=LAB) as folder:
        copy = Path(folder) / "lab"
        copy.mkdir()
        for name in SOURCES:
            source = LAB / name
            copying = shutil.copytree if source.is_dir() else shutil.copyfile
            copying(source, copy / name)
        shutil.copytree(
            LAB / "node_modules", copy / "node_modules", symlinks=True, copy_function=os.link
        )
        build(copy, node)
        differing = sorted(differences(ROOT / BUNDLE, Path(folder) / BUNDLE))
    for name in differing:
        print(f"{BUNDLE}/{name} is not what the sources in lab/ give", file=sys.stderr)
    if differing:
        print("  → make lab, and commit what it changes", file=sys.stderr)
    return 1 if differing else 0


def differences(one: Path, other: Path) -> Iterator[str]:
    """Files that only one of two folders has, or whose bytes differ, by their path in it."""
    files = [
        {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        for folder in (one, other)
    ]
    yield from files[0] ^ files[1]
    for name in files[0] & files[1]:
        if not filecmp.cmp(one / name, other / name, shallow=False):
            yield name


if __name__ == "__main__":
    raise SystemExit(main())
