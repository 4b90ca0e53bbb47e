"""Fee filters: requests to peers not to announce what our mempool would refuse (BIP133).

The rate is rounded at random and sent at random times, so that it does not reveal that two
addresses belong to one node (Bitcoin: FeeFilterRounder, MaybeSendFeefilter).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from chain.gossip.actions import Priority
from chain.gossip.context import Context, Link
from chain.gossip.dispatch import Part
from chain.gossip.transactions.txrelay import FEE_FILTER_MAX
from chain.gossip.views import RandomSource
from chain.gossip.wire.messages import FeeFilter
from chain.primitives.numbers import SECOND_US

if TYPE_CHECKING:
    from chain.gossip.events import LinkId

CHECK_INTERVAL_S: Final = 60.0
BROADCAST_INTERVAL_S: Final = 600.0  # Bitcoin: AVG_FEEFILTER_BROADCAST_INTERVAL
CHANGE_DELAY_S_MAX: Final = 300.0  # Bitcoin: MAX_FEEFILTER_CHANGE_DELAY
STEP_FIRST: Final = 1000  # grains per 1000 vbytes; rates up to this one are sent unrounded
STEP_FACTOR: Final = 1.1  # Bitcoin: FEE_FILTER_SPACING
_DOWN_ODDS: Final = 2 / 3


@dataclass(slots=True)
class _LastFeeFilter:
    """The last rate sent to one link, and when the next is due."""

    feerate: int = 0
    due_us: int = 0


class FeeFilters(Part):
    """Sends our fee filter to each link that relays transactions: at first, then at intervals."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._last: dict[LinkId, _LastFeeFilter] = {}

    def start(self) -> None:
        """Start checking the rate."""
        self._context.call_later(CHECK_INTERVAL_S, self._check)

    def opened(self, link: Link) -> None:
        """Send the filter to a new link, unless the pool accepts every rate."""
        if link.relays_transactions:
            self._last[link.id] = last = _LastFeeFilter()
            self._send(link, last, self._feerate_min())

    def closed(self, link: Link) -> None:
        """Forget a link."""
        self._last.pop(link.id, None)

    def _feerate_min(self) -> int:
        return self._context.pool.feerate_min(self._context.now.unix_s)

    def _check(self) -> None:
        """Send the filters that are due; a large change of the rate makes all due soon."""
        now_us, rate = self._context.now.mono_us, self._feerate_min()
        for link_id, last in self._last.items():
            link = self._context.links.get(link_id)
            if link is not None and last.due_us <= now_us:
                self._send(link, last, rate)
            elif rate * 4 < last.feerate * 3 or rate * 3 > last.feerate * 4:
                soon_us = now_us + int(self._context.rng.uniform(0, CHANGE_DELAY_S_MAX) * SECOND_US)
                last.due_us = min(last.due_us, soon_us)
        self._context.call_later(CHECK_INTERVAL_S, self._check)

    def _send(self, link: Link, last: _LastFeeFilter, rate: int) -> None:
        context = self._context
        wait_s = context.rng.expovariate(1 / BROADCAST_INTERVAL_S)
        last.due_us = context.now.mono_us + int(wait_s * SECOND_US)
        rate = min(rounded(rate, context.rng), FEE_FILTER_MAX)
        if rate != last.feerate:
            last.feerate = rate
            context.send(link, FeeFilter(rate), Priority.CONTROL)


def rounded(rate: int, rng: RandomSource) -> int:
    """Return the step of a ladder just above a rate or, more often, the one just below it."""
    if rate <= STEP_FIRST:
        return rate
    below, above = float(STEP_FIRST), STEP_FIRST * STEP_FACTOR
    while above < rate:
        below, above = above, above * STEP_FACTOR
    return int(below if rng.uniform(0, 1) < _DOWN_ODDS else above)
