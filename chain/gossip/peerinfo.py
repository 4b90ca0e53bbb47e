"""Links as people may see them."""

from dataclasses import dataclass

from chain.consensus.entry import Entry, fork_point
from chain.gossip.actions import Purpose
from chain.gossip.address import Address
from chain.gossip.blockfetch import BlockFetch
from chain.gossip.compactrelay import CompactRelay
from chain.gossip.context import Context, Link
from chain.gossip.events import LinkId
from chain.gossip.links import Liveness
from chain.gossip.txrelay import TxRelay


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerInfo:
    """What is known of a link; times in monotonic microseconds, -1: never."""

    link: LinkId
    address: Address
    listens_at: Address | None  # as far as it is known
    seen_as: Address | None  # our own address, as the other end told it
    purpose: Purpose | None  # None: inbound
    agent: str
    services: int
    version: int
    opened_us: int
    last_receive_us: int
    last_transaction_us: int  # when it last gave us one that the pool took
    last_block_us: int  # likewise a block
    ping_us: int | None  # the shortest answer to a ping
    last_ping_us: int | None  # the last one
    ping_waits_us: int | None  # since the ping that is not answered yet
    clock_ahead_s: int  # of its clock before ours, when the link opened
    start_height: int  # at the handshake
    known_height: int | None  # of the best block that it told us it has
    header_height: int | None  # of the best block that it has, told by it or given by us
    common_height: int | None  # of the last block of our best chain that it has
    in_flight: tuple[int, ...]  # heights of the blocks that it was asked for
    relays_transactions: bool
    relays_addresses: bool
    addresses_taken: int
    addresses_refused: int  # more than it may tell
    fee_floor: int  # grains for 1000 vbytes, below which it is told of nothing
    pushes_blocks: bool  # to us, as we asked for (BIP152: high bandwidth)
    wants_pushes: bool  # of us


class PeerInfos:
    """Asks the parts of the core what they know of each link."""

    def __init__(
        self,
        context: Context,
        liveness: Liveness,
        fetch: BlockFetch,
        compact: CompactRelay,
        transactions: TxRelay,
    ) -> None:
        self._context = context
        self._liveness = liveness
        self._fetch = fetch
        self._compact = compact
        self._transactions = transactions

    def all(self) -> list[PeerInfo]:
        """Return what is known of each link, oldest first.

        Any thread may ask: what changes meanwhile is told as it was or as it is.
        """
        return [self._of(link) for link in list(self._context.links.values())]

    def _of(self, link: Link) -> PeerInfo:
        best = _better(link.best_known, link.common)
        tip = self._context.chain.tip
        return PeerInfo(
            link=link.id,
            address=link.address,
            listens_at=link.listens_at,
            seen_as=link.seen_as,
            purpose=link.purpose,
            agent=link.hello.agent,
            services=link.hello.services,
            version=link.hello.version,
            opened_us=link.opened_us,
            last_receive_us=link.last_receive_us,
            last_transaction_us=link.last_transaction_us,
            last_block_us=link.last_block_us,
            ping_us=link.ping_us,
            last_ping_us=link.last_ping_us,
            ping_waits_us=self._liveness.ping_waits_us(link),
            clock_ahead_s=link.clock_ahead_s,
            start_height=link.hello.height,
            known_height=_height(link.best_known),
            header_height=_height(best),
            common_height=None if best is None else fork_point(best, tip).height,
            in_flight=self._fetch.heights_asked(link),
            relays_transactions=link.relays_transactions,
            relays_addresses=link.relays_addresses,
            addresses_taken=link.addresses_taken,
            addresses_refused=link.addresses_refused,
            fee_floor=self._transactions.fee_floor(link),
            pushes_blocks=self._compact.is_announcer(link),
            wants_pushes=link.wants_compact,
        )


def _better(one: Entry | None, other: Entry | None) -> Entry | None:
    """Return the block with more work, or the one that there is."""
    if one is None or (other is not None and other.chain_work > one.chain_work):
        return other
    return one


def _height(entry: Entry | None) -> int | None:
    return None if entry is None else entry.height
