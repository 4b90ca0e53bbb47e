"""Detection of outbound peers that withhold the best chain.

When no block has arrived for long, one more peer is dialled than there are slots, and the worst one
is closed (Bitcoin: stale tip check). The headers of a peer that stays behind our chain are
requested, and it is closed if they are not better (Bitcoin: ConsiderEviction). A few peers that had
our chain are exempt from both, so that an invalid chain, however much work it claims, cannot cost
us all of them (Bitcoin: m_protect). In addition one more block-relay peer is dialled at intervals,
so that no fixed set of peers can isolate us.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from chain.gossip.actions import ConnectionType
from chain.gossip.blocks.headersync import HeaderSync
from chain.gossip.context import CODE_TIMEOUT, Context, Link
from chain.gossip.dispatch import Part
from chain.gossip.peers.dialling import Dialling
from chain.primitives.numbers import SECOND_US

if TYPE_CHECKING:
    from chain.gossip.events import LinkId

CHECK_INTERVAL_S: Final = 30.0
STALE_SPACINGS: Final = 3  # the tip is stale after so many block intervals without a block
STALE_S_MIN: Final = 60
BEHIND_S_MAX: Final = 20 * 60  # Bitcoin: CHAIN_SYNC_TIMEOUT
CHALLENGE_S: Final = 120  # Bitcoin: HEADERS_RESPONSE_TIME
MIN_CONNECT_S: Final = 60  # a younger link may not have announced its chain yet
PROTECTED_MAX: Final = 4  # Bitcoin: MAX_OUTBOUND_PEERS_TO_PROTECT_FROM_DISCONNECT
EXTRA_BLOCK_RELAY_INTERVAL_S: Final = 300.0  # Bitcoin: EXTRA_BLOCK_RELAY_ONLY_PEER_INTERVAL


@dataclass(slots=True)
class _Behind:
    """A link behind our chain: since when, and when its headers were requested."""

    since_us: int
    work: int  # our chain work at that time, which the link must reach
    challenged_us: int | None = None


class StaleTip(Part):
    """Watches the tip and the outbound links that were chosen from the address book."""

    def __init__(self, context: Context, dialling: Dialling, headers: HeaderSync) -> None:
        self._context = context
        self._dialling = dialling
        self._headers = headers
        self._tip_us = 0
        self._behind: dict[LinkId, _Behind] = {}
        self._protected: dict[LinkId, None] = {}

    def start(self) -> None:
        """Start watching."""
        self._tip_us = self._context.now.mono_us
        self._context.call_later(CHECK_INTERVAL_S, self._check)
        if self._context.config.block_relay_max:
            self._schedule_extra_block_relay()

    def closed(self, link: Link) -> None:
        """Forget a link."""
        self._behind.pop(link.id, None)
        self._protected.pop(link.id, None)

    def tip_changed(self) -> None:
        """Record that the tip changed."""
        self._tip_us = self._context.now.mono_us

    def _check(self) -> None:
        context = self._context
        spacing_s = context.config.params.spacing_s
        limit_us = max(STALE_SPACINGS * spacing_s, STALE_S_MIN) * SECOND_US
        is_stale = context.now.mono_us - self._tip_us > limit_us
        self._dialling.extra_full_relay = 1 if is_stale else 0
        self._protect()
        chosen = self._links_of_type(ConnectionType.OUTBOUND_FULL_RELAY)
        if len(chosen) > context.config.outbound_max:
            self._drop_worst([link for link in chosen if link.id not in self._protected])
        chosen = self._links_of_type(ConnectionType.BLOCK_RELAY)
        if len(chosen) > context.config.block_relay_max:
            self._drop_extra_block_relay(chosen)
        for link in list(context.links.values()):
            if link.is_outbound and not link.is_manual and link.id not in self._protected:
                self._consider_eviction(link)
        context.call_later(CHECK_INTERVAL_S, self._check)

    def _links_of_type(self, connection_type: ConnectionType) -> list[Link]:
        return [
            link for link in self._context.links.values() if link.connection_type is connection_type
        ]

    def _protect(self) -> None:
        """Protect links that have our chain, up to half of the slots."""
        protected_max = min(PROTECTED_MAX, self._context.config.outbound_max // 2)
        for link in self._links_of_type(ConnectionType.OUTBOUND_FULL_RELAY):
            if len(self._protected) >= protected_max:
                return
            if _work(link) >= self._context.chain.tip.chain_work:
                self._protected[link.id] = None
                self._behind.pop(link.id, None)

    def _drop_worst(self, chosen: list[Link]) -> None:
        """Close the link that knows the least work; in a tie, that with the oldest block."""
        if chosen and all(map(self._is_old_enough, chosen)):
            worst = min(chosen, key=lambda link: (_work(link), link.last_block_us, -link.opened_us))
            self._context.close(worst, "worst of more outbound links than slots")

    def _schedule_extra_block_relay(self) -> None:
        wait_s = self._context.rng.expovariate(1 / EXTRA_BLOCK_RELAY_INTERVAL_S)
        self._context.call_later(wait_s, self._add_extra_block_relay)

    def _add_extra_block_relay(self) -> None:
        """Dial one more block-relay link."""
        self._dialling.extra_block_relay = 1
        self._schedule_extra_block_relay()

    def _drop_extra_block_relay(self, chosen: list[Link]) -> None:
        """Close the youngest block-relay link or, if it sent a block since, the next youngest."""
        older, youngest = sorted(chosen, key=lambda link: link.opened_us)[-2:]
        if not self._is_old_enough(youngest):
            return
        self._dialling.extra_block_relay = 0
        if youngest.last_block_us > older.last_block_us:
            self._dialling.keep_anchor(youngest.address)
            self._context.close(older, "sent its last block before a newer block-relay peer did")
        else:
            self._context.close(youngest, "extra block-relay peer that sent no newer block")

    def _is_old_enough(self, link: Link) -> bool:
        """Return whether a link had enough time to announce its chain."""
        return link.opened_us < self._context.now.mono_us - MIN_CONNECT_S * SECOND_US

    def _consider_eviction(self, link: Link) -> None:
        """Close a link that does not reach our work in time, even after a request for headers."""
        context = self._context
        now_us = context.now.mono_us
        behind = self._behind.get(link.id)
        if behind is None or _work(link) >= behind.work:
            self._behind[link.id] = _Behind(now_us, context.chain.tip.chain_work)
        elif behind.challenged_us is None:
            if now_us - behind.since_us > BEHIND_S_MAX * SECOND_US:
                behind.challenged_us = now_us
                self._headers.request(link)
        elif now_us - behind.challenged_us > CHALLENGE_S * SECOND_US:
            context.close(link, "its chain has less work than ours", CODE_TIMEOUT)


def _work(link: Link) -> int:
    return 0 if link.best_known is None else link.best_known.chain_work
