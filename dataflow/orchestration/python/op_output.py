"""What an op prints and logs, kept in its log without secrets: its subprocesses' output, too."""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import io
import logging
import os
import queue
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from dataflow.engine.output import LiveText
from dataflow.engine.secrets import Scrubber
from dataflow.orchestration.live import TERMINAL_VARIABLE, LiveOutput

PIPE_SIZE = 1 << 20
CHUNK = 1 << 16


@contextlib.contextmanager
def logged(path: Path, context: Any, name: str, scrubber: Scrubber) -> Iterator[OpOutput]:
    """Write what the op `name` prints and logs to the file `path`; yields that output."""
    with (
        path.open("a", encoding="utf-8") as file,
        _kept(sys.stdout, 1) as stdout,
        _kept(sys.stderr, 2) as stderr,
    ):
        # In a run started by Dagster, output also goes to where Dagster keeps it.
        on = None if TERMINAL_VARIABLE in os.environ else stdout
        output = OpOutput(file, scrubber, context.log, name, on=on, stderr=stderr)
        handler = _ToFile(output, name, stderr)
        context.log.addHandler(handler)
        try:
            with output.taken():
                yield output
        finally:
            context.log.removeHandler(handler)


@contextlib.contextmanager
def _kept(stream: TextIO, number: int) -> Iterator[TextIO]:
    """`stream`, as it is now, for when its file descriptor leads elsewhere."""
    try:
        stream.flush()
        moves = stream.fileno() == number
    except (AttributeError, OSError, ValueError):  # no file: in tests, for example
        moves = False
    if moves:
        with os.fdopen(os.dup(number), "w", 1, encoding="utf-8", errors="backslashreplace") as kept:
            yield kept
    else:
        yield stream


class OpOutput:
    """Takes what is written to file descriptors 1 and 2, by this process and those it starts.

    It comes through a pipe, in the order in which it was written, is scrubbed, and goes to the
    op's log, to the terminal and to Dagster.

    Args:
        file: the op's log.
        scrubber: takes secrets out.
        log: Dagster's log of the step.
        name: the op's name.
        on: where it also goes.
        stderr: standard error, as it was.
    """

    def __init__(
        self,
        file: TextIO,
        scrubber: Scrubber,
        log: Any,
        name: str,
        *,
        on: TextIO | None,
        stderr: TextIO,
    ) -> None:
        self._file, self.scrubber, self._log, self._on = file, scrubber, log, on
        self._text = LiveText(scrubber, [self._hand_on])
        self._live = LiveOutput(self, name, stderr)
        # To Dagster by a thread of its own: the locks of its handlers may be held by whoever
        # waits for room in the pipe.
        self._events: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.teller = threading.Thread(target=self._tell, daemon=True)
        self._stream = _Stream(stderr, self.teller)
        self._mark = uuid.uuid4().bytes
        self._reached = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._pipe: int | None = None
        self._ending = False
        self._error: Exception | None = None

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Take what is written inside the `with` block."""
        self.teller.start()
        read, self._pipe = os.pipe()
        with contextlib.suppress(AttributeError, OSError):  # Linux
            fcntl.fcntl(read, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        reader = threading.Thread(target=self._read, args=(read,), daemon=True)
        reader.start()
        before = [(number, os.dup(number)) for number in (1, 2)]
        try:
            for number, _ in before:
                os.dup2(self._pipe, number)
            with (
                contextlib.redirect_stdout(self._stream),
                contextlib.redirect_stderr(self._stream),
            ):
                yield
        finally:
            for stream in (self._stream, sys.stdout, sys.stderr):
                with contextlib.suppress(AttributeError, OSError, ValueError):
                    stream.flush()
            for number, kept in before:
                os.dup2(kept, number)
                os.close(kept)
            # Not until the pipe's end: a background process of the op may hold it open.
            self._ending = True
            os.write(self._pipe, self._mark)
            reader.join()
            os.close(self._pipe)
            os.close(read)
            self._pipe = None
            self._guarded(self._text.flush)
            self._guarded(self._live.close)
            self._events.put(None)
            self.teller.join()
            if self._error is not None and sys.exc_info()[0] is None:
                raise self._error

    def keep(self, text: str) -> None:
        """Write to the op's log only, after what was printed before."""
        if self._pipe is not None and os.getpid() == self._pid:
            self._stream.flush()
            os.write(self._pipe, self._mark)
            self._reached.acquire(timeout=10)
        with self._lock:
            self._file.write(self.scrubber.text(text))
            self._file.flush()

    def info(self, text: str) -> None:
        """Tell Dagster what was printed."""
        self._events.put(text)

    def _tell(self) -> None:
        while (text := self._events.get()) is not None:
            self._guarded(self._log.info, text)

    def _read(self, pipe: int) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        rest = b""
        while True:
            *before, rest = (rest + os.read(pipe, CHUNK)).split(self._mark)
            for part in before:
                self._guarded(self._text.write, "stdout", decoder.decode(part))
                self._reached.release()
            if before and self._ending:
                return
            sizes = range(len(self._mark) - 1, 0, -1)
            begun = next((size for size in sizes if rest.endswith(self._mark[:size])), 0)
            whole = len(rest) - begun
            self._guarded(self._text.write, "stdout", decoder.decode(rest[:whole]))
            rest = rest[whole:]

    def _guarded(self, function: Any, *arguments: Any) -> None:
        """Keep the error, a full disk for example, for the op: the pipe must still be read."""
        try:
            function(*arguments)
        except Exception as error:
            self._error = self._error or error

    def _hand_on(self, _: str, clean: str) -> None:
        with self._lock:
            self._file.write(clean)
            self._file.flush()
        self._live.write("stdout", clean)
        if self._on is not None:
            self._on.write(clean)


class _Stream(io.TextIOWrapper):
    """The op's `sys.stdout` and `sys.stderr`, which subprocesses can be given.

    Dagster's console writes to `sys.stderr`, too: its lines about the op's output are no output.
    """

    def __init__(self, stderr: TextIO, teller: threading.Thread) -> None:
        file = io.BufferedWriter(io.FileIO(1, "w", closefd=False))
        super().__init__(file, "utf-8", errors="backslashreplace", line_buffering=True)
        self._stderr, self._teller = stderr, teller

    def write(self, text: str) -> int:
        if threading.current_thread() is self._teller:
            return self._stderr.write(text)
        return super().write(text)


class _ToFile(logging.Handler):
    """Takes what an op logs through Dagster's context into the op's log."""

    def __init__(self, output: OpOutput, name: str, terminal: TextIO) -> None:
        super().__init__()
        self._output, self._name = output, name
        self._terminal = terminal if os.environ.get(TERMINAL_VARIABLE) == "live" else None

    def emit(self, record: logging.LogRecord) -> None:
        if threading.current_thread() is self._output.teller or hasattr(record, "dagster_event"):
            return  # it is in the log already; Dagster's own events are in Dagster
        own = getattr(record, "dagster_meta", {}).get("orig_message") or record.getMessage()
        line = f"{time.strftime('%H:%M:%S')} {record.levelname} {own}\n"
        self._output.keep(line)
        if self._terminal is not None:
            self._terminal.write(f"    {self._name} │ {self._output.scrubber.text(line)}")
