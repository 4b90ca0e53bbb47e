"""The queue of frames for one link: most urgent first, many small frames per write."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from chain.gossip.actions import Priority
from chain.service.peers.inbox import LinkTally, TrafficTotals

PROGRESS_BYTES: Final = 64 * 1024  # change of the queue after which it is reported
COALESCE_S: Final = 0.02  # how long frames that are not urgent wait for more


class Backlog:
    """Counts the bytes queued for one link, and reports changes of some size."""

    def __init__(self, report: Callable[[int, int], None], totals: TrafficTotals) -> None:
        """Call `report` when the count has changed by PROGRESS_BYTES, or reached 0.

        Its arguments are the count and all bytes written; `totals` counts these, too.
        """
        self._report = report
        self._totals = totals
        self._reported_bytes = 0
        self.queued_bytes = 0
        self.sent_bytes = 0
        self.by_type = LinkTally()

    def add(self, count: int) -> None:
        """Count `count` more queued bytes."""
        self._change(count)

    def wrote(self, frames: Sequence[bytes]) -> None:
        """Count queued frames as written."""
        self._change(-self.wrote_at_once(frames))

    def wrote_at_once(self, frames: Sequence[bytes]) -> int:
        """Count frames that were written without queueing; return their bytes."""
        size = self.by_type.wrote(frames)
        self.sent_bytes += size
        self._totals.sent_bytes += size
        return size

    def drop(self, count: int) -> None:
        """Remove `count` bytes, which will not be written."""
        self._change(-count)

    def _change(self, count: int) -> None:
        self.queued_bytes += count
        change = abs(self.queued_bytes - self._reported_bytes)
        if change >= PROGRESS_BYTES or (change and not self.queued_bytes):
            self._reported_bytes = self.queued_bytes
            self._report(self.queued_bytes, self.sent_bytes)


class Outbox:
    """Queues of encoded frames by lane. One task takes; any task on the loop puts."""

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog
        self._lanes: dict[Priority, deque[bytes]] = {lane: deque() for lane in Priority}
        self._has_frames = asyncio.Event()
        self._urgent = asyncio.Event()
        self._finished = False

    def put(self, frame: bytes, lane: Priority) -> None:
        """Queue a frame; without effect after `finish`."""
        if self._finished:
            return
        self._lanes[lane].append(frame)
        self._has_frames.set()
        if lane is Priority.BLOCK:
            self._urgent.set()
        self._backlog.add(len(frame))

    def finish(self, last: bytes = b"") -> None:
        """Drop the queue; `take` returns `last` and after that nothing."""
        for queue in self._lanes.values():
            queue.clear()
        if last:
            self._lanes[Priority.BLOCK].append(last)
        self._finished = True
        self._has_frames.set()
        self._urgent.set()

    async def take(self, bytes_max: int) -> bytes:
        """Wait for frames and return as many as fit into `bytes_max`, one at least.

        Empty only after `finish`. Frames that are not urgent wait for more, for COALESCE_S at most.
        """
        await self._has_frames.wait()
        if not self._urgent.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(COALESCE_S):  # wait_for may lose a cancellation
                    await self._urgent.wait()
        taken: list[bytes] = []
        size = 0
        while (lane := self._next_lane()) is not None:
            if taken and size + len(lane[0]) > bytes_max:
                break
            taken.append(lane.popleft())
            size += len(taken[-1])
        if not self._finished:
            self._rearm()
            self._backlog.wrote(taken)
        return b"".join(taken)

    def _next_lane(self) -> deque[bytes] | None:
        return next((queue for queue in self._lanes.values() if queue), None)

    def _rearm(self) -> None:
        if not self._lanes[Priority.BLOCK]:
            self._urgent.clear()
        if self._next_lane() is None:
            self._has_frames.clear()
