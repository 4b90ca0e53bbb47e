"""How long each connected block took on the thread that uses the ledger, in four parts."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chain.consensus.entry import BlockTreeEntry
from chain.primitives.numbers import Hash32

if TYPE_CHECKING:
    from collections.abc import Callable


class Lap:
    """A stopwatch: each call returns the seconds since the previous one."""

    def __init__(self) -> None:
        self._last_s = time.perf_counter()

    def __call__(self) -> float:
        """Return the seconds since the previous call, or since its creation."""
        now_s = time.perf_counter()
        passed_s, self._last_s = now_s - self._last_s, now_s
        return passed_s


@dataclass(slots=True)
class BlockTiming:
    """The time for one block, in seconds."""

    block_id: Hash32
    check_s: float = 0.0  # the rules that need no coins
    connect_s: float = 0.0  # coins read, the rules that need them, rows made
    verify_s: float = 0.0  # waiting for signatures; few are verified on this thread
    write_s: float = 0.0  # rows written and committed; blocks committed together share it equally
    entry: BlockTreeEntry | None = None  # None: it was not connected

    @property
    def height(self) -> int:
        """The height of a connected block."""
        assert self.entry is not None, "it was connected"
        return self.entry.height

    @property
    def total_s(self) -> float:
        """The sum of the parts."""
        return self.check_s + self.connect_s + self.verify_s + self.write_s


class BlockTimer:
    """Collects the timings of the blocks that connect; `listeners` get them once committed."""

    def __init__(self) -> None:
        self.listeners: list[Callable[[BlockTiming], None]] = []
        self._latest: BlockTiming | None = None
        self._connected: list[BlockTiming] = []  # until `report`, which every batch of rows makes

    def of(self, block_id: Hash32) -> BlockTiming:
        """Return the timing of the most recent block if it is this one, else a new timing."""
        latest = self._latest
        if latest is None or latest.block_id != block_id:
            latest = self._latest = BlockTiming(block_id)
        return latest

    def connected(self, timing: BlockTiming, entry: BlockTreeEntry) -> None:
        """Store the timing of a block that has become the tip."""
        timing.entry = entry
        self._connected.append(timing)
        self._latest = None  # connected again, it gets a new timing

    def connected_run(
        self, entries: Sequence[BlockTreeEntry], connect_s: float, verify_s: float
    ) -> list[BlockTiming]:
        """Store and return timings of blocks connected together, which share the time equally."""
        shares = connect_s / len(entries), verify_s / len(entries)
        timings = [BlockTiming(entry.id, 0.0, *shares, entry=entry) for entry in entries]
        self._connected += timings
        return timings

    def report(self, tip: BlockTreeEntry, write_s: float, *, unverified: int = 0) -> None:
        """Report all timings except the newest `unverified`, if still in the chain."""
        count = max(len(self._connected) - unverified, 0)
        reported, self._connected = self._connected[:count], self._connected[count:]
        if not self.listeners:
            return
        for timing in reported:
            timing.write_s += write_s / count
            if timing.entry is not None and timing.entry.is_ancestor_of(tip):
                for listener in self.listeners:
                    listener(timing)
