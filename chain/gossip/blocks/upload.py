"""The daily upload limit: old blocks use only part of it, so that new ones can always be sent."""

from dataclasses import dataclass
from typing import Final

from chain.gossip.context import Context, Link
from chain.gossip.dispatch import Handler, Part, on_link_event
from chain.gossip.events import LinkId, Now, WriteProgress
from chain.primitives.numbers import SECOND_US

TURNS_MAX: Final = 8  # links that are served old blocks at the same time
RECENT_DEPTH: Final = 10  # blocks less deep than this are served without a turn
DAY_S: Final = 24 * 3600
OLD_SHARE: Final = 0.75  # of the day's bytes; the rest is for new blocks
HISTORICAL_S: Final = 7 * DAY_S  # behind the best header (Bitcoin: HISTORICAL_BLOCK_AGE)


@dataclass(frozen=True, slots=True)
class UploadDay:
    """How much of the daily limit is used."""

    limit_bytes: int  # 0: no limit
    written_bytes: int
    left_s: int  # until the day ends
    serves_historical_blocks: bool  # whether peers are served historical blocks


class Upload(Part):
    """Counts the bytes written in a day, if the user set a limit."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._written: dict[LinkId, int] = {}
        self._day_bytes = 0
        self._day_end_us = 0

    def handlers(self) -> tuple[Handler, ...]:
        """Handle reports of what was written."""
        return (on_link_event(WriteProgress, self.wrote),)

    def opened(self, link: Link) -> None:
        """Count a new link's bytes from now on."""
        self._written[link.id] = 0

    def closed(self, link: Link) -> None:
        """Forget a link; the bytes it was sent still count."""
        self._written.pop(link.id, None)

    def wrote(self, link: Link, event: WriteProgress) -> None:
        """Record the total of bytes written to a link since it opened."""
        self._begin_day()
        self._day_bytes += max(event.written_bytes - self._written[link.id], 0)
        self._written[link.id] = event.written_bytes

    @property
    def is_limited(self) -> bool:
        """Whether the user set a limit."""
        return self._context.config.upload_bytes_per_day > 0

    def refuses(self, link: Link, block_time: int) -> bool:
        """Return whether a block is too old to be served, given the bytes written today."""
        if not self.is_limited or link.is_manual:
            return False
        self._begin_day()
        is_historical = self._context.chain.best_header.header.time - block_time > HISTORICAL_S
        return is_historical and self._is_used_up(self._day_bytes)

    def day(self, now: Now) -> UploadDay:
        """Return the state of the limit; without one only `written_bytes` matters."""
        is_over = now.mono_us >= self._day_end_us
        written = 0 if is_over else self._day_bytes
        left_s = DAY_S if is_over else (self._day_end_us - now.mono_us) // SECOND_US
        limit = self._context.config.upload_bytes_per_day
        return UploadDay(
            limit, written, left_s, serves_historical_blocks=not self._is_used_up(written)
        )

    def left_s(self) -> int:
        """Return how many seconds the day still lasts."""
        return max(self._day_end_us - self._context.now.mono_us, 0) // SECOND_US + 1

    def _is_used_up(self, written_bytes: int) -> bool:
        """Return whether the part of the daily limit that old blocks may use is used up."""
        limit = self._context.config.upload_bytes_per_day
        return self.is_limited and written_bytes >= limit * OLD_SHARE

    def _begin_day(self) -> None:
        now_us = self._context.now.mono_us
        if now_us >= self._day_end_us:
            self._day_bytes, self._day_end_us = 0, now_us + DAY_S * SECOND_US


class Turns:
    """The links that are served old blocks, and those that wait for a turn, longest first."""

    def __init__(self) -> None:
        self._held: dict[LinkId, None] = {}
        self._queued: dict[LinkId, None] = {}

    def has(self, link: Link) -> bool:
        """Return whether a link has its turn."""
        return link.id in self._held

    def take(self, link: Link) -> bool:
        """Return whether it is a link's turn; if not, queue it."""
        if link.id in self._held:
            return True
        if len(self._held) >= TURNS_MAX:
            self._queued[link.id] = None
            return False
        self._queued.pop(link.id, None)
        self._held[link.id] = None
        return True

    def end(self, link: Link) -> LinkId | None:
        """End a link's turn, or remove it from the queue; return which link may be next."""
        self._held.pop(link.id, None)
        self._queued.pop(link.id, None)
        return next(iter(self._queued), None) if len(self._held) < TURNS_MAX else None
