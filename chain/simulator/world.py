"""Simulated time: a heap of scheduled events."""

import hashlib
import heapq
from collections.abc import Callable
from random import Random

from chain.primitives.numbers import SECOND_US
from chain.simulator.rules import START_S

NOTED_MAX = 1000


class World:
    """The clock, the event heap, the random source, and a hash over all events."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.time_us = 0
        self.random = Random(f"world {seed}")  # noqa: S311 - a simulation, not a secret
        self.events = 0  # last number given out
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._sequence = 0
        self._trace = hashlib.sha256()
        self._noted: list[str] = []  # not in the hash yet

    @property
    def unix_s(self) -> int:
        """The true time."""
        return START_S + self.time_us // SECOND_US

    def number(self) -> int:
        """Return a number never returned before."""
        self._sequence += 1
        return self._sequence

    def at(self, time_us: int, function: Callable[[], None]) -> None:
        """Call `function` at a time, or now if that has passed; equal times in order of calls."""
        entry = (max(time_us, self.time_us), self.number(), function)
        heapq.heappush(self._heap, entry)

    def after(self, delay_us: int, function: Callable[[], None]) -> None:
        """Call `function` after a delay."""
        self.at(self.time_us + delay_us, function)

    def skip(self, duration_s: int) -> None:
        """Advance the clock before anything is scheduled."""
        assert not self._heap, "nothing is passed over"
        self.time_us += duration_s * SECOND_US

    def run(self, duration_s: float, until: Callable[[], bool] | None = None) -> bool:
        """Run for a duration; stop early, and return True, as soon as `until` holds."""
        end_us = self.time_us + int(duration_s * SECOND_US)
        heap, take = self._heap, heapq.heappop
        while heap and heap[0][0] <= end_us:
            self.time_us, _, function = take(heap)
            function()
            if until is not None and until():
                return True
        self.time_us = end_us
        return False

    def note(self, node: int, what: str) -> None:
        """Add an event to the trace."""
        self.events += 1
        self._noted.append(f"{self.time_us} {node} {what}\n")
        if len(self._noted) >= NOTED_MAX:
            self._hash_noted()

    @property
    def trace(self) -> str:
        """The hash of all events so far; equal for equal runs."""
        self._hash_noted()
        return self._trace.hexdigest()

    def _hash_noted(self) -> None:
        self._trace.update("".join(self._noted).encode())
        self._noted.clear()
