"""IPython's kernel: the command that starts one, and what a process that forks kernels does.

That process imports this module; it must not import what a kernel does not.
"""

from __future__ import annotations

import builtins
import importlib
import os
import sys

IPYTHON = ["-m", "ipykernel_launcher"]

# Without what only a debugger needs: ipykernel imports debugpy when a kernel starts, which takes a
# quarter of the start. A notebook that imports debugpy itself still can.
WITHOUT_DEBUGGER = """\
sys.modules["debugpy"] = None
import ipykernel.debugger
del sys.modules["debugpy"]
from ipykernel import kernelapp
"""

# A kernel that was asked to end stops the thread that prints while another one may wait for that: one
# in ten does not end, until it is killed after four seconds.
ENDING_IN_ORDER = """\
import threading
from ipykernel import control, iostream
def stop(printing, stop=iostream.IOPubThread.stop):
    for thread in threading.enumerate():
        if isinstance(thread, control.ControlThread) and thread is not threading.current_thread():
            thread.join(3)
    stop(printing)
iostream.IOPubThread.stop = stop
"""

# What that module does. A kernel's Python need not have DATAFLOW.
LAUNCH = f"""\
import sys
if sys.path[0] == "":
    del sys.path[0]
sys.argv[0] = "ipykernel_launcher"
{WITHOUT_DEBUGGER}\
{ENDING_IN_ORDER}\
kernelapp.launch_new_instance()
"""

# What a kernel imports while it starts.
_LATE = (
    "IPython.core.completerlib",
    "IPython.core.debugger",
    "IPython.core.logger",
    "IPython.core.oinspect",
    "IPython.extensions.storemagic",
    "sqlite3",
    "tornado.platform.asyncio",
    "unicodedata",
)
INLINE = "module://matplotlib_inline.backend_inline"
# Between these two, imported modules find themselves in a kernel.
BEGIN, END = f"{__name__}:begin", f"{__name__}:end"


def begin() -> None:
    """Import what a kernel does; let modules that follow see one when they look where they are.

    pandas chooses how many columns it shows when it is imported, and DuckDB whether it shows how
    far a statement is.
    """
    exec(WITHOUT_DEBUGGER + ENDING_IN_ORDER, {"sys": sys})
    for name in _LATE:
        importlib.import_module(name)
    if not os.environ.get("MPLBACKEND"):
        os.environ["MPLBACKEND"] = INLINE  # as a kernel does when it starts

    from ipykernel.zmqshell import ZMQInteractiveShell
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    shell = ZMQInteractiveShell.__new__(ZMQInteractiveShell)
    shell.config = Config(IPKernelApp=Config(connection_file=""))
    InteractiveShell._instance = shell  # type: ignore[assignment]
    builtins.get_ipython = InteractiveShell.instance  # type: ignore[attr-defined]


def end() -> None:
    """There is no kernel yet."""
    from IPython.core.interactiveshell import InteractiveShell

    InteractiveShell._instance = None
    del builtins.get_ipython  # type: ignore[attr-defined]


def run(arguments: list[str]) -> None:
    """Be a kernel, in a forked process, started with `arguments`."""
    from ipykernel import kernelapp

    sys.argv = ["ipykernel_launcher", *arguments]
    os.environ["JPY_PARENT_PID"] = str(os.getppid())
    kernelapp.launch_new_instance()
