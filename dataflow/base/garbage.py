"""Python's garbage collector in a process that imports much and ends soon.

It looks through every object there is, again and again while packages are imported, and twice when
the process ends: for a process that has Dagster imported that is a fifth of the imports, and a
third of a second at the end, for memory that the system takes back anyway.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# By default 700, 10 and 10: new objects, and rounds of the younger generation.
SELDOM = (50_000, 20, 100)


@contextmanager
def collected_seldom() -> Iterator[None]:
    """Have the collector look seldom in the block, with which the process ends."""
    gc.set_threshold(*SELDOM)
    try:
        yield
    finally:
        gc.freeze()  # what is there now is not looked at any more
