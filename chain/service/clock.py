"""The node's clocks: the time of day, which its user may set on regtest, and the steady one."""

import time
from typing import Final

from chain.gossip.events import Now

SET_MAX: Final = 9_223_372_036  # limit of `set`; Bitcoin: the seconds in 2^63 nanoseconds
TIME_MAX: Final = 0xFFFF_FFFF  # the latest time reported: headers and addresses have 32 bits for it
_NS_PER_US: Final = 1000


class Clock:
    """The time source of one node; usable from any thread."""

    def __init__(self) -> None:
        self._set_s = 0

    def set(self, unix_s: int) -> None:
        """Freeze the time of day at this time, at most SET_MAX; 0 follows the system's clock again.

        The steady clock is not affected: timeouts take as long as before.
        """
        self._set_s = unix_s

    @property
    def mock_time(self) -> int:
        """The time at which the time of day stands still; 0: it does not."""
        return self._set_s

    def unix_s(self) -> int:
        """Return the time of day, at most TIME_MAX."""
        return min(self._set_s or int(time.time()), TIME_MAX)

    def now(self) -> Now:
        """Return both clocks."""
        return Now(time.monotonic_ns() // _NS_PER_US, self.unix_s())
