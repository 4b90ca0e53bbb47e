"""The log lines about the chain: new tips, reorganisations, progress, and missing peers."""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from chain.node.node import ChainStateUpdate
from chain.primitives.numbers import counted, id_text

TIP_INTERVAL_S: Final = 5.0  # between two lines about new tips; those between are counted
PROGRESS_S: Final = 2.0  # between two looks at the progress
# Without peers: seconds until the first line, and from each one to the next.
NO_PEERS_S: Final = (10.0, 60.0, 600.0, 3600.0)
_RATE_SAMPLES: Final = 15  # of the height, over which the rate of a sync is averaged
_LOG: Final = logging.getLogger(__name__)


class Progress(Protocol):
    """The state of a sync, as the peer side gives it."""

    @property
    def height(self) -> int:
        """The best chain's height."""

    @property
    def headers(self) -> int:
        """The height of the best valid header."""


class ChainLines:
    """Logs the chain's changes at a bounded rate; a listener of Node, on the ledger thread."""

    def __init__(
        self, is_syncing: Callable[[], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """While `is_syncing`, only reorganisations have lines; SyncLines has the rest."""
        self._is_syncing = is_syncing
        self._clock = clock
        self._lock = threading.Lock()
        self._blocks = 0  # connected since the last line
        self._transactions = 0  # in them
        self._tip = ""
        self._next_s = 0.0

    def on_update(self, update: ChainStateUpdate) -> None:
        """Log what changed the chain, or count it for the next line."""
        if not update.connected and not update.disconnected:
            return
        tip, connected, lost = update.view.tip, len(update.connected), len(update.disconnected)
        if lost:
            fork = tip.height - connected
            text = "reorganisation: %s disconnected, %s connected, fork at %s"
            _LOG.info(text, _blocks(lost), f"{connected:,}", f"{fork:,}")
        with self._lock:
            is_syncing = self._is_syncing()
            if is_syncing or lost:  # what was counted may be among the lost
                self._blocks = self._transactions = 0
            self._tip = f"{tip.height:,} {id_text(tip.id)}"
            if not is_syncing:
                self._blocks += connected
                self._transactions += sum(block.tx_count for block in update.connected)
            if self._blocks and (lost or self._clock() >= self._next_s):
                self._write()

    def flush(self) -> None:
        """Log the blocks that had no line yet, if a line is due or the node stops."""
        with self._lock:
            if self._blocks:
                self._write()

    def flush_if_due(self) -> None:
        """Log the blocks that had no line yet, once their time has come."""
        if self._clock() >= self._next_s:
            self.flush()

    def _write(self) -> None:
        count = "new tip" if self._blocks == 1 else f"{_blocks(self._blocks, 'new ')}, tip"
        plural = "" if self._transactions == 1 else "s"
        _LOG.info("%s %s: %s transaction%s", count, self._tip, f"{self._transactions:,}", plural)
        self._blocks = self._transactions = 0
        self._next_s = self._clock() + TIP_INTERVAL_S


class SyncLines:
    """Logs the progress of a sync with its rate, and its end."""

    def __init__(self, now: Progress, now_s: float) -> None:
        """Take the state at the start, and the time in seconds."""
        self._samples = deque([(now_s, now.height)], maxlen=_RATE_SAMPLES)
        self._is_syncing = False

    def report(self, now: Progress, now_s: float, *, is_behind: bool) -> None:
        """Log how far the sync is, if it moved."""
        then_s, before = self._samples[0]
        moved = now.height != self._samples[-1][1]
        self._samples.append((now_s, now.height))
        if moved and now.height < now.headers:
            self._is_syncing = self._is_syncing or is_behind
            rate = (now.height - before) / (now_s - then_s) if now_s > then_s else 0.0
            share = 100 * now.height // now.headers
            left = f", {_duration((now.headers - now.height) / rate)} left" if rate > 0 else ""
            where = f"block {now.height:,} of {now.headers:,} ({share} %)"
            _LOG.info("syncing: %s, %s blocks/s%s", where, f"{max(rate, 0):,.0f}", left)
        elif self._is_syncing and not is_behind and now.height >= now.headers:
            self._is_syncing = False
            _LOG.info("in sync: block %s", f"{now.height:,}")


NO_PEERS: Final = "no peers: name one with --peer HOST:PORT, or a seed with --seed"
NO_PEERS_YET: Final = "no peers yet: none of the named peers and seeds has led to one"
NO_PEERS_NOW: Final = "no peers: the last one left {} ago; named ones and seeds are dialled again"


class PeerLines:
    """Says, ever more seldom, that there are no peers."""

    def __init__(self, now_s: float, *, has_places: bool = False) -> None:
        """Take the time, and whether the user has named peers or seeds, which are being tried."""
        self._has_places = has_places
        self._last_s: float | None = None  # when there were peers
        self._waits = 0
        self._due_s = now_s + NO_PEERS_S[0]

    def report(self, peers: int, now_s: float) -> None:
        """Log that there are no peers, if it is time to."""
        if peers:
            self._waits, self._due_s = 0, now_s + NO_PEERS_S[0]
            self._last_s = now_s
        elif now_s >= self._due_s:
            _LOG.info("%s", self._line(now_s))
            self._waits = min(self._waits + 1, len(NO_PEERS_S) - 1)
            self._due_s = now_s + NO_PEERS_S[self._waits]

    def _line(self, now_s: float) -> str:
        if not self._has_places:
            return NO_PEERS
        if self._last_s is None:
            return NO_PEERS_YET
        return NO_PEERS_NOW.format(_duration(now_s - self._last_s))


async def report_progress(
    lines: ChainLines,
    progress: Callable[[], Progress],
    is_behind: Callable[[], bool],
    peer_count: Callable[[], int] | None,
    *,
    has_places: bool,
) -> None:
    """Log progress, late tips and missing peers until cancelled; no `peer_count`: never those."""
    syncing = SyncLines(progress(), time.monotonic())
    peers = PeerLines(time.monotonic(), has_places=has_places)
    while True:
        await asyncio.sleep(PROGRESS_S)
        now_s = time.monotonic()
        syncing.report(progress(), now_s, is_behind=is_behind())
        lines.flush_if_due()
        if peer_count is not None:
            peers.report(peer_count(), now_s)


def _blocks(count: int, kind: str = "") -> str:
    return counted(count, f"{kind}block")


def _duration(seconds: float) -> str:
    """Return a length of time in one unit, as in 'about 3 min'."""
    for limit, size, unit in ((90, 1, "s"), (5400, 60, "min"), (129_600, 3600, "h")):
        if seconds < limit:
            return f"about {max(round(seconds / size), 1)} {unit}"
    return f"about {min(seconds / 86_400, 9999):.0f} days"
