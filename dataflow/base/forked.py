"""Processes that begin with modules imported, since they are forked from one that has them.

A `ForkServer` imports modules and then forks a child for each connection to its socket; the
connection is the child's life. `multiprocessing` has such a server, too, but a process has one
only, no other process can ask it, and its children have the server's environment and folder, and
another `sys.path` than a new process.

Linux only. Whoever asks starts a process of its own where this is `Refused`.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import resource
import select
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from dataflow.base.lifetime import die_with_parent, end_group

START = "import sys\nif sys.path[0] == '': del sys.path[0]\n"
START += f"from {__name__} import main\nsys.exit(main())"
PREFIX = f"dataflow-fork-{os.getuid()}-"  # of the private folders with the sockets
LONGEST = 1 << 20  # bytes of a request
SECONDS = 60.0  # that the server may take to import its modules and to fork
LOOK_EVERY = 2.0  # seconds: whether the process that started the server is still there
# A child's environment is written where others see it, over the server's: it may be longer.
ROOM = "_DATAFLOW_FORK_ROOM"
ROOM_SIZE = 8192
# Threads that a fork does no harm: these libraries have handlers of their own for it.
OPENBLAS = ("numpy", "scipy")
JEMALLOC = "jemalloc_bg_thd"


class Refused(Exception):
    """No child was forked; the message says why."""


class ForkServer:
    """A process that imports modules and forks children.

    When this process ends, it forks no more, and ends with the last child.

    Args:
        modules: what it imports, in this order. `module:function` is called, too: some modules
            start threads which they can end again.
        environment: that of the server.
        folder: where it is started: some packages look for their settings there. One with nothing
            in it, if None.
        may_differ: how the names of variables begin that a child may have otherwise.

    Raises:
        Refused: there can be none here.
    """

    def __init__(
        self,
        modules: Iterable[str],
        environment: Mapping[str, str],
        folder: Path | None = None,
        may_differ: Iterable[str] = (),
    ) -> None:
        if sys.platform != "linux":
            raise Refused("only Linux has what it takes")
        try:
            _remove_folders_of_the_dead()
            self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        except OSError as error:
            raise Refused(f"it has no folder for its socket: {error}") from None
        self.address = str(self.folder / "socket")
        told = json.dumps([os.getpid(), list(modules), list(may_differ)])
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
                listener.bind(self.address)  # a file, which file permissions guard
                listener.listen(128)
                number = listener.fileno()
                self._process = subprocess.Popen(
                    [sys.executable, "-c", START, str(number), told],
                    env={**environment, ROOM: "x" * ROOM_SIZE},
                    cwd=folder or self.folder,
                    stdin=subprocess.PIPE,  # closed when this process ends
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[number],
                    start_new_session=True,  # a Ctrl-C on the terminal is not for it
                )
        except OSError as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise Refused(f"it cannot be started: {error}") from None

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the server and its children."""
        self._process.terminate()
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _remove_folders_of_the_dead() -> None:
    """Remove the sockets of servers that were killed together with who started them."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as one:
            try:
                one.settimeout(1)
                one.connect(str(folder / "socket"))
            except ConnectionRefusedError:
                shutil.rmtree(folder, ignore_errors=True)
            except OSError:
                continue  # it begins just now, or is busy


class Forked:
    """A forked process, in the words of `subprocess.Popen`; it is killed when this is dropped."""

    stdin = stdout = stderr = None

    def __init__(self, connection: socket.socket, pid: int, args: Sequence[str]) -> None:
        self.pid = pid
        self.args = args
        self.returncode: int | None = None
        self._connection = connection
        connection.setblocking(False)
        self._reading = threading.Lock()  # a time limit asks in a thread of its own

    def __del__(self) -> None:
        self._connection.close()

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._status(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended; returns its exit code.

        Raises:
            subprocess.TimeoutExpired: it runs on.
        """
        code = self._status(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(list(self.args), timeout or 0)
        return code

    def _status(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            end = select.poll()
            end.register(self._connection, select.POLLIN)
            end.poll(None if timeout is None else max(0, timeout * 1000))
        with self._reading:
            if self.returncode is None:
                try:
                    told = self._connection.recv(LONGEST)
                except BlockingIOError:
                    return None
                except OSError:
                    told = b""
                # Without its server it was killed, too.
                self.returncode = json.loads(told)["code"] if told else -signal.SIGKILL
                self.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.poll() is None:  # until its end was read, no other process gets its id
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Kill it, and what is left of its process group."""
        # Not closed: another thread may wait for its end, which this wakes.
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)


def fork(
    address: str,
    function: str,
    arguments: Sequence[Any],
    *,
    environment: Mapping[str, str],
    folder: Path,
    files: tuple[int, int, int],
    title: Sequence[str],
) -> Forked:
    """Have a server fork a child, which leads a session of its own.

    Args:
        address: of the server.
        function: what the child calls, `module:function`; it ends as `sys.exit` with its result.
        arguments: for the function, as JSON takes them.
        environment: the child's, whole.
        folder: where it works.
        files: its standard input, output and error, as file descriptors of this process.
        title: the command that `ps` shows for it.

    Raises:
        Refused: says why there is none.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    limits = [(kind, *resource.getrlimit(kind)) for kind in _LIMITS]
    asked = {
        "function": function,
        "arguments": arguments,
        "environment": dict(environment),
        "folder": str(folder),
        "title": list(title),
        "umask": _umask(),
        "limits": limits,
    }
    try:
        connection.settimeout(SECONDS)
        connection.connect(address)
        socket.send_fds(connection, [json.dumps(asked).encode()], files)
        told = json.loads(connection.recv(LONGEST) or "{}")
        if "pid" in told:
            return Forked(connection, told["pid"], title)
    except OSError as error:
        connection.close()
        raise Refused(f"its server does not answer: {error}") from None
    except BaseException:  # a signal's
        connection.close()
        raise
    connection.close()
    raise Refused(told.get("refused", "the process ended at once"))


_LIMITS = sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})


def private_folder() -> Path:
    """In a server: a folder that others cannot read, removed when the server has ended."""
    return _folder


def _umask() -> int:
    """This process's umask, without setting it for a moment."""
    text = Path("/proc/self/status").read_text("utf-8", "replace")
    return int(text.partition("Umask:")[2].split()[0], 8)


def accepted(listener: socket.socket) -> socket.socket | None:
    """The next connection; None if it is another user's.

    Raises:
        OSError: there is none.
    """
    connection, _ = listener.accept()
    form = "3i"
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(form))
    if struct.unpack(form, found)[1] == os.getuid():
        return connection
    connection.close()
    return None


def tell(connection: socket.socket, **what: Any) -> bool:
    """Tell who asked; false when that one is gone."""
    try:
        connection.send(json.dumps(what).encode())
    except OSError:
        return False
    return True


# -- the server ---------------------------------------------------------------------------------

_folder: Path  # with its socket


def main() -> Any:
    """Serve; in a child, call what was asked for, and return its result."""
    global _folder
    listener = socket.socket(fileno=int(sys.argv[1]))
    _folder = Path(listener.getsockname()).parent
    parent, modules, may_differ = json.loads(sys.argv[2])
    del sys.argv[1:]
    function, arguments = _Server(listener, parent, tuple(may_differ)).serve(modules)
    return pkgutil.resolve_name(function)(*arguments)


class _Server:
    """Forks children, and tells how they ended."""

    def __init__(self, listener: socket.socket, parent: int, may_differ: tuple[str, ...]) -> None:
        self._listener = listener
        self._parent = parent
        self._may_differ = may_differ
        os.environ.pop(ROOM, None)
        # As it was given: Python may have set `LC_CTYPE` since, as it would in the child.
        whole = os.fsdecode(Path("/proc/self/environ").read_bytes())
        given = dict(one.split("=", 1) for one in whole.split("\0") if "=" in one)
        self._environment = {name: value for name, value in given.items() if name != ROOM}
        self._why_not = "" if _memory(_ENVIRONMENT)[1] else "its environment cannot be written"
        self._safe: set[str] = set()  # threads
        self._children: dict[socket.socket, int] = {}
        self._told: set[int] = set()  # those of which it was told how they ended
        self._killed: set[int] = set()  # not collected yet

    def serve(self, modules: list[str]) -> tuple[str, list[Any]]:
        """Import `modules`, then fork a child for each request; returns in the child only."""
        self._import(modules)
        # A child that collects garbage looks only through what is its own: no copies of all
        # the pages here.
        gc.collect()
        gc.freeze()
        os.set_blocking(self._listener.fileno(), False)  # who connected may be gone
        ended, wake = socket.socketpair()
        for one in (ended, wake):
            one.setblocking(False)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        handlers = {
            signal.SIGCHLD: signal.signal(signal.SIGCHLD, _nothing),
            signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: self._end()),
        }
        selector = selectors.DefaultSelector()
        selector.register(0, selectors.EVENT_READ)
        selector.register(self._listener, selectors.EVENT_READ)
        selector.register(ended, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select(LOOK_EVERY):
                file: Any = key.fileobj
                if file == 0:
                    self._stop_listening(selector)
                elif file is self._listener:
                    connection = self._accept()
                    asked = self._asked(connection) if connection else None
                    if asked is None or connection is None:
                        continue
                    server = os.getpid()
                    pid = os.fork()
                    if pid == 0:
                        signal.set_wakeup_fd(-1)
                        for number, handler in handlers.items():
                            signal.signal(number, handler)
                        selector.close()
                        for ours in (ended, wake, self._listener, *self._children):
                            ours.close()
                        _become(asked, server, self._environment)
                        if not tell(connection, pid=os.getpid()):
                            os._exit(1)
                        connection.close()
                        return asked["function"], asked["arguments"]
                    for number in asked["files"]:
                        os.close(number)
                    self._children[connection] = pid
                    selector.register(connection, selectors.EVENT_READ)
                elif file is ended:
                    ended.recv(LONGEST)
                else:  # who asked is gone, or has read how it ended
                    selector.unregister(file)
                    file.close()
                    pid = self._children.pop(file)
                    end_group(pid)
                    self._killed.add(pid)
            self._tell_who_ended()
            if os.getppid() != self._parent:
                self._stop_listening(selector)
            if self._listener.fileno() < 0 and not self._children:
                self._end()

    def _stop_listening(self, selector: selectors.BaseSelector) -> None:
        """Who started this is gone; the children belong to those who asked for them."""
        if self._listener.fileno() >= 0:
            selector.unregister(0)
            selector.unregister(self._listener)
            self._listener.close()

    def _import(self, modules: list[str]) -> None:
        said: list[str] = []
        show = warnings.showwarning

        def note(message: Warning | str, *_: Any, **__: Any) -> None:
            said.append(str(message))

        warnings.showwarning = note
        for name in modules:
            before = _threads()
            try:
                if ":" in name:
                    pkgutil.resolve_name(name)()
                else:
                    importlib.import_module(name)
            except ModuleNotFoundError as error:
                if not f"{name}.".startswith(f"{error.name}."):
                    self._why_not = f"importing {name} failed: {error}"
                    break  # what it has imported stays: a difference
            except BaseException as error:
                self._why_not = f"importing {name} failed: {type(error).__name__}: {error}"
                break
            if name.partition(".")[0] in OPENBLAS:
                self._safe |= _threads() - before
            if said:  # the child would not say it
                self._why_not = f"{name} warns when it is imported: {said[0]}"
                break
        warnings.showwarning = show

    def _accept(self) -> socket.socket | None:
        try:
            return accepted(self._listener)
        except OSError:
            return None

    def _asked(self, connection: socket.socket) -> dict[str, Any] | None:
        """What is asked for on a connection; None when nothing, or it is refused."""
        files: list[int] = []
        try:
            connection.settimeout(SECONDS)
            data, files, _, _ = socket.recv_fds(connection, LONGEST, 3)
            if data:
                asked: dict[str, Any] = json.loads(data)
                asked["files"] = files
                if not (why := self._why_not or self._refuses(asked)):
                    return asked
                tell(connection, refused=why)
        except (OSError, ValueError):
            pass
        for number in files:
            os.close(number)
        connection.close()
        return None

    def _refuses(self, asked: dict[str, Any]) -> str:
        """Why there can be no child; empty when there can."""
        theirs, own = asked["environment"], self._environment
        others = {name for name in {*own, *theirs} if own.get(name) != theirs.get(name)}
        if others := {name for name in others if not name.startswith(self._may_differ)}:
            return f"the environment differs: {', '.join(sorted(others))}"
        if len(asked["files"]) != 3:
            return "it needs three files"
        if more := len(_threads() - self._safe) - 1:
            return f"imported modules started threads: {more}"
        # A new process would import these, where the folder is in its path.
        loaded = {name.partition(".")[0] for name in sys.modules}
        if hidden := sorted(loaded & _modules_in(asked["folder"])):
            return f"{asked['folder']} has modules named like packages: {', '.join(hidden)}"
        return ""

    def _tell_who_ended(self) -> None:
        for connection, pid in self._children.items():
            # Not collected: until its end was read, no other process may get its id.
            how = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if how is not None and pid not in self._told:
                self._told.add(pid)
                code = how.si_status if how.si_code == os.CLD_EXITED else -how.si_status
                tell(connection, code=code)
        self._told &= {*self._children.values()}
        self._killed = {pid for pid in self._killed if os.waitpid(pid, os.WNOHANG)[0] == 0}

    def _end(self) -> None:
        for pid in self._children.values():
            end_group(pid)
        shutil.rmtree(_folder, ignore_errors=True)
        os._exit(0)


def _nothing(number: int, frame: FrameType | None) -> None:
    """A handler: without one, no signal wakes the server."""


def _threads() -> set[str]:
    """The threads of this process, without those that need not be known."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        try:
            if (task / "comm").read_text("utf-8", "replace").strip() != JEMALLOC:
                found.add(task.name)
        except OSError:
            continue  # it has ended
    return found


def _modules_in(folder: str) -> set[str]:
    found = set()
    try:
        for entry in os.scandir(folder):
            name, dot, _ = entry.name.partition(".")
            has_code = (Path(entry) / "__init__.py").exists() if not dot else False
            if has_code or entry.name.endswith((".py", ".so")):
                found.add(name)
    except OSError:
        pass
    return found


# -- the child ----------------------------------------------------------------------------------


def _become(asked: dict[str, Any], server: int, given: Mapping[str, str]) -> None:
    """Make this forked process what a new one would be.

    Args:
        asked: what was asked for.
        server: the server's process id.
        given: the environment that the server was started with.
    """
    os.setsid()
    die_with_parent(server)
    for number, file in enumerate(asked["files"]):
        os.dup2(file, number)
        os.close(file)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.umask(asked["umask"])
    for kind, *limit in asked["limits"]:
        if tuple(limit) != resource.getrlimit(kind):
            resource.setrlimit(kind, limit)
    os.chdir(asked["folder"])
    own = dict(os.environ)  # with what imported modules changed, as they would in a new process
    changed = {name: value for name, value in own.items() if given.get(name) != value}
    # All are set anew, since the C library's point to the memory that is written next.
    os.environ.clear()
    os.environ.update(asked["environment"] | changed)
    for name in given.keys() - own.keys():
        os.environ.pop(name, None)
    # What others see of a process: what they do not find there, they cannot end.
    ordered = sorted(
        asked["environment"].items(), key=lambda one: not one[0].startswith("DATAFLOW")
    )
    _write(_ENVIRONMENT, [os.fsencode(f"{name}={value}") for name, value in ordered], b"\0")
    _write(_COMMAND, [os.fsencode(" ".join(asked["title"]))], b" ")
    time.tzset()
    # `random` does this itself.
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()


_COMMAND, _ENVIRONMENT = 47, 49  # fields of proc(5)'s stat, counted from 0


def _memory(field: int) -> tuple[int, int]:
    """Where the command or the environment is that others see: its address and size."""
    stat = Path("/proc/self/stat").read_text("utf-8", "replace")
    fields = stat.rpartition(")")[2].split()[field - 2 :]
    return int(fields[0]), int(fields[1]) - int(fields[0])


def _write(field: int, parts: Sequence[bytes], rest: bytes) -> None:
    """Write `parts` there, as many as there is room for."""
    address, size = _memory(field)
    text = b""
    for part in parts:
        if len(text) + len(part) + 1 < size:
            text += part + b"\0"
    if not text:
        text = parts[0][: size - 1]
    ctypes.memmove(address, text.rstrip(b"\0").ljust(size - 1, rest) + b"\0", size)


if __name__ == "__main__":
    sys.exit(main())
