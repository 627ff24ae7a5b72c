"""Fork servers that several runs share: the service keeps them, and a run asks for one.

A run without a service has a server of its own, which ends with it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from dataflow.base.forked import LONGEST, SECONDS, ForkServer, Refused, accepted, tell

VARIABLE = "DATAFLOW_FORK_SERVERS"  # the variable with the address of a `Keeper`
UNUSED = 2  # servers that nobody uses, of those that are kept: one for kernels and one for dbt
IDLE = 3600.0  # seconds after which a server that nobody used is ended
OLDEST = 86_400.0  # seconds after which a server is not given to anybody else
LOOK_EVERY = 60.0  # seconds

logger = logging.getLogger("dataflow")


@dataclass(frozen=True)
class Wanted:
    """What a fork server is asked for, as `ForkServer` takes it."""

    modules: Sequence[str]
    environment: Mapping[str, str]
    folder: str | None = None
    may_differ: Sequence[str] = ()

    def start(self) -> ForkServer:
        """Start one.

        Raises:
            Refused: there can be none here.
        """
        folder = Path(self.folder) if self.folder else None
        return ForkServer(self.modules, self.environment, folder, self.may_differ)

    def surroundings(self) -> tuple[Any, ...]:
        """What has to be equal for another one's children."""
        differ = tuple(self.may_differ)
        equal = {n: v for n, v in self.environment.items() if not n.startswith(differ)}
        return (equal, self.folder, sorted(differ))


@contextlib.contextmanager
def fork_server(variable: str, wanted: Wanted) -> Iterator[None]:
    """Have this process and those it starts find a fork server's address in `variable`.

    Raises:
        Refused: there can be none here.
    """
    with contextlib.ExitStack() as until_the_end:
        address = _kept(wanted, until_the_end)
        if address is None:
            server = wanted.start()
            until_the_end.callback(server.close)
            address = server.address
        os.environ[variable] = address
        until_the_end.callback(os.environ.pop, variable, None)
        yield


def _kept(wanted: Wanted, until_the_end: contextlib.ExitStack) -> str | None:
    """The address of a server that is kept, until then; None if there is none."""
    keeper = os.environ.get(VARIABLE)
    if not keeper:
        return None
    connection = until_the_end.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    try:
        connection.settimeout(SECONDS)
        connection.connect(keeper)
        connection.send(json.dumps(asdict(wanted)).encode())
        answer = json.loads(connection.recv(LONGEST) or "{}")
    except OSError as error:
        answer = {"refused": error}
    if "address" not in answer:
        why = answer.get("refused", "it ended")
        logger.info("the service gives no process to fork from, this run has its own: %s", why)
    return answer.get("address")


@dataclass
class _Kept:
    server: ForkServer
    wanted: Wanted
    state: object
    began: float = field(default_factory=time.monotonic)
    users: int = 0
    left: float = field(default_factory=time.monotonic)  # when the last of them went
    replaced: bool = False

    def fits(self, wanted: Wanted, state: object) -> bool:
        """Whether its children are what those of a new one would be."""
        return (
            not self.is_old(time.monotonic())
            and self.server.is_running()
            and state == self.state
            and wanted.surroundings() == self.wanted.surroundings()
        )

    def is_old(self, now: float) -> bool:
        """Whether it is given to nobody else."""
        return self.replaced or now - self.began > OLDEST


class Keeper:
    """Starts fork servers for who asks, and keeps them for the next: in a thread of its own.

    Args:
        path: where it can be asked: of a socket, in a folder that others cannot read.
        state: tells what has to be the same for a server to be given again.

    Raises:
        OSError: nothing can listen there.
    """

    def __init__(self, path: Path, state: Callable[[], object]) -> None:
        self._state = state
        self._lock = threading.Lock()
        self._all: list[_Kept] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(path))
        self._listener.listen(128)
        self._listener.settimeout(LOOK_EVERY)
        threading.Thread(target=self._listen, name="fork servers", daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                connection = accepted(self._listener)
            except TimeoutError:
                with self._lock:
                    self._end_unused()
                continue
            except OSError:  # too many open files, for instance
                time.sleep(1)
                continue
            if connection is not None:
                threading.Thread(
                    target=self._answer, args=[connection], name="fork server", daemon=True
                ).start()

    def _answer(self, connection: socket.socket) -> None:
        """Give a server to who asks, who uses it until the connection is closed."""
        with connection:
            connection.settimeout(SECONDS)
            try:
                wanted = Wanted(**json.loads(connection.recv(LONGEST)))
                with self._lock:
                    kept = self._find(wanted)
                    kept.users += 1
            except (OSError, ValueError, TypeError, Refused) as error:
                tell(connection, refused=str(error))
                return
            try:
                if tell(connection, address=kept.server.address):
                    connection.settimeout(None)
                    connection.recv(1)
            except OSError:
                pass  # it was killed
            finally:
                with self._lock:
                    kept.users -= 1
                    kept.left = time.monotonic()
                    self._end_unused()

    def _find(self, wanted: Wanted) -> _Kept:
        state = self._state()
        fitting = [kept for kept in self._all if kept.fits(wanted, state)]
        for kept in fitting:
            if set(wanted.modules) <= set(kept.wanted.modules):
                return kept
            wanted = replace(wanted, modules=merged(kept.wanted.modules, wanted.modules))
        new = _Kept(wanted.start(), wanted, state)
        for kept in fitting:  # one for all, rather than one for each
            kept.replaced = True
        self._all.append(new)
        return new

    def _end_unused(self) -> None:
        now = time.monotonic()
        unused = sorted((kept for kept in self._all if not kept.users), key=lambda one: one.left)
        for number, kept in enumerate(unused, start=1):
            too_many = len(unused) - number >= UNUSED
            if too_many or kept.is_old(now) or now - kept.left > IDLE:
                self._all.remove(kept)
                kept.server.close()


def merged(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """Both together, in an order that each of them has."""
    both, at = list(first), 0
    for one in second:
        if one in both:
            at = both.index(one) + 1
        else:
            both.insert(at, one)
            at += 1
    return both
