"""The wire to a kernel: nothing gets lost on it, and a message costs little."""

from __future__ import annotations

import contextlib
import json
from datetime import datetime
from typing import Any

# Run in the kernel before the first cell. ZeroMQ drops what exceeds 1,000 messages that wait
# to be sent. The socket belongs to the thread that sends.
_SEND_ALL = (
    "(lambda thread: thread.schedule(lambda: setattr(thread.socket, 'sndhwm', 0)))"
    "(get_ipython().kernel.iopub_thread)"
)


def unlimited(client: Any) -> None:
    """Have `client`, not connected yet, keep every message until it is read."""
    client.context.rcvhwm = 0
    client.session.unpack = unpack


def send_all(client: Any) -> str:
    """Have an IPython kernel keep every message until it is sent; returns the request's id."""
    return str(client.execute(_SEND_ALL, silent=True))


def unpack(data: bytes) -> Any:
    """Read one part of a message, dates in its headers included.

    jupyter_client reads the two dates of every message with dateutil's parser of any format,
    which takes longer than all the rest of the message.
    """
    part = json.loads(data)
    if isinstance(part, dict) and "msg_id" in part and isinstance(part.get("date"), str):
        with contextlib.suppress(ValueError):
            part["date"] = datetime.fromisoformat(part["date"])
    return part
