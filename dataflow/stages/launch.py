"""How a run starts an IPython kernel: without what only a person at a debugger needs."""

from __future__ import annotations

MODULE = ["-m", "ipykernel_launcher"]

# What that module does. ipykernel imports debugpy when a kernel starts, which takes a quarter
# of the start; a notebook that imports debugpy itself still can.
LAUNCH = """\
import sys
if sys.path[0] == "":
    del sys.path[0]
sys.argv[0] = "ipykernel_launcher"
sys.modules["debugpy"] = None
import ipykernel.debugger
del sys.modules["debugpy"]
from ipykernel import kernelapp
kernelapp.launch_new_instance()
"""


def without_debugger(command: list[str]) -> list[str]:
    """The command that starts a kernel, changed if it is that of an IPython kernel.

    Args:
        command: `argv` of a kernel's specification.
    """
    for at in range(len(command) - 1):
        if command[at : at + 2] == MODULE:
            return [*command[:at], "-c", LAUNCH, *command[at + 2 :]]
    return command
