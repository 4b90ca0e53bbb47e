"""The gate of `--cpu-gate=SECONDS`: no test of the default run may take long.

What counts is the processor time of the test's own process while the test itself runs, without its
fixtures. The time on the clock would depend on what else the machine does (and here the other
workers do much); a test that waits costs the run little, since another worker runs meanwhile; and
of a test that starts processes most is Python starting, which no test can shorten. Even processor
time grows where cores share a cache or a hypervisor, or are slow: a test over the limit is
measured by a fixed piece of work right afterwards, and allowed as much more as that took more.
"""

import hashlib
import time
from typing import Final

_REFERENCE_S: Final = 0.05  # of `_work` on a core of 2024


def processor_time() -> float:
    """Seconds of processor time that this process has used, all its threads together."""
    return time.process_time()


def excess(taken_s: float, limit_s: float) -> str | None:
    """Say by how much a test that took so long is over the limit, or None if it is not."""
    if taken_s <= limit_s:
        return None
    slowness = max(1.0, _work() / _REFERENCE_S)
    if taken_s <= limit_s * slowness:
        return None
    return (
        f"the test took {taken_s:.2f} s of processor time, over the {limit_s * slowness:.2f} s "
        "that a test of the default run may take: shorten it, split it, or mark it `slow`"
    )


def _work() -> float:
    """Do a fixed piece of work, in Python and outside, and return its processor time in seconds."""
    started = time.thread_time()
    digest = b""
    for _ in range(150_000):
        digest = hashlib.sha256(digest).digest()
    return time.thread_time() - started
