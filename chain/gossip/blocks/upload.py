"""How much of our upload those have who fetch old blocks: never so much that news waits."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from chain.gossip.context import SECOND_US, Context, Link

if TYPE_CHECKING:
    from chain.gossip.events import LinkId, Now

TURNS_MAX: Final = 8  # links that are given old blocks at a time
RECENT_DEPTH: Final = 10  # blocks less deep are given at once
DAY_S: Final = 24 * 3600
OLD_SHARE: Final = 0.75  # of the day's bytes; the rest is for what is new
HISTORICAL_S: Final = 7 * DAY_S  # behind the best header (Bitcoin: HISTORICAL_BLOCK_AGE)


@dataclass(frozen=True, slots=True)
class UploadDay:
    """How much of the limit is used."""

    limit_bytes: int  # 0: none
    written_bytes: int
    left_s: int  # of the day
    serves_historical_blocks: bool  # whether strangers are given historical blocks


class Upload:
    """Counts what was written in a day, if the user set a limit to it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._written: dict[LinkId, int] = {}
        self._day_bytes = 0
        self._day_end_us = 0

    def opened(self, link: Link) -> None:
        """Count a new link's bytes from here on."""
        self._written[link.id] = 0

    def closed(self, link: Link) -> None:
        """Forget a link; what it was sent counts."""
        self._written.pop(link.id, None)

    def wrote(self, link: Link, written_bytes: int) -> None:
        """Note how many bytes were written to a link in all."""
        self._begin_day()
        self._day_bytes += max(written_bytes - self._written[link.id], 0)
        self._written[link.id] = written_bytes

    def refuses(self, link: Link, block_time: int) -> bool:
        """Tell whether a block is so old, and so much was written today, that it is not given."""
        if not self._context.config.upload_bytes_per_day or link.is_manual:
            return False
        self._begin_day()
        is_historical = self._context.chain.best_header.header.time - block_time > HISTORICAL_S
        return is_historical and self._is_used_up(self._day_bytes)

    def day(self, now: "Now") -> UploadDay:
        """Return how things are; without a limit only what was written counts for something."""
        is_over = now.mono_us >= self._day_end_us
        written = 0 if is_over else self._day_bytes
        left_s = DAY_S if is_over else (self._day_end_us - now.mono_us) // SECOND_US
        limit = self._context.config.upload_bytes_per_day
        return UploadDay(
            limit, written, left_s, serves_historical_blocks=not self._is_used_up(written)
        )

    def left_s(self) -> int:
        """Return how long the day lasts yet."""
        return max(self._day_end_us - self._context.now.mono_us, 0) // SECOND_US + 1

    def _is_used_up(self, written_bytes: int) -> bool:
        """Tell whether the share of the day's bytes that old blocks may take is gone."""
        limit = self._context.config.upload_bytes_per_day
        return limit > 0 and written_bytes >= limit * OLD_SHARE

    def _begin_day(self) -> None:
        now_us = self._context.now.mono_us
        if now_us >= self._day_end_us:
            self._day_bytes, self._day_end_us = 0, now_us + DAY_S * SECOND_US


class Turns:
    """Who is given old blocks, and who waits for that, longest first."""

    def __init__(self) -> None:
        self._held: dict[LinkId, None] = {}
        self._waiting: dict[LinkId, None] = {}

    def take(self, link: Link) -> bool:
        """Tell whether it is a link's turn; if not, it waits for it."""
        if link.id in self._held:
            return True
        if len(self._held) >= TURNS_MAX:
            self._waiting[link.id] = None
            return False
        self._waiting.pop(link.id, None)
        self._held[link.id] = None
        return True

    def end(self, link: Link) -> "LinkId | None":
        """End a link's turn, or its waiting for one; return whose turn it may be now."""
        self._held.pop(link.id, None)
        self._waiting.pop(link.id, None)
        return next(iter(self._waiting), None) if len(self._held) < TURNS_MAX else None
