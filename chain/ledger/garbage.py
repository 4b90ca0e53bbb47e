"""Python's cyclic garbage collector while many blocks are connected."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_COLLECT_AFTER: Final = (5_000_000, 50, 50)  # new objects; young, middle collections


@contextmanager
def rare_collections() -> Iterator[None]:
    """Run the collector rarely, in all threads: millions of coins create few cycles."""
    before = gc.get_threshold()
    gc.set_threshold(*_COLLECT_AFTER)
    try:
        yield
    finally:
        gc.set_threshold(*before)
