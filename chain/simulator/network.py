"""The simulated network: regions, latencies, bandwidth, reachability and links."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from chain.gossip.actions import Send
from chain.gossip.events import BadFrame, Event, Frames, LinkId, Requested, RequestFinished, Token
from chain.gossip.wire.address import Address
from chain.gossip.wire.frames import decode_frames, encode_frame
from chain.gossip.wire.messages import (
    Addresses,
    GetAddresses,
    Inv,
    Message,
    Request,
    TxMessage,
    is_bulk,
    is_request,
)
from chain.primitives.numbers import SECOND_US
from chain.simulator.sharing import SharedShortIds
from chain.simulator.sizes import frame_size
from chain.simulator.world import World

if TYPE_CHECKING:
    from chain.simulator.node import SimNode

# Milliseconds one way between North America, Europe, South America, Asia and Pacific, Japan,
# Australia, where nodes are, and how much they can send: the orders of magnitude of the 2019
# measurement that SimBlock uses (Nagayama et al., arXiv 1912.05208).
REGION_SHARES: Final = (33, 50, 1, 12, 2, 2)
LATENCY_MS: Final = (
    (32, 124, 184, 198, 151, 189),
    (124, 11, 227, 237, 252, 294),
    (184, 227, 88, 325, 301, 322),
    (198, 237, 325, 85, 58, 198),
    (151, 252, 301, 58, 12, 126),
    (189, 294, 322, 198, 126, 16),
)
UPLOAD_BITS_PER_S: Final = (19_000_000, 21_000_000, 6_000_000, 16_000_000, 10_000_000, 11_000_000)
JITTER: Final = 0.2  # added to the latency, at most this share of it
RESEND_US: Final = 200_000  # added for a lost packet, besides a round trip
INTERLEAVED_BYTES_MAX: Final = 2000  # smaller frames overtake larger ones in the uplink
GARBAGE_BYTES: Final = 100
UNWANTED: Final = (Inv, TxMessage, Addresses, GetAddresses)  # on a block relay link
CONNECT_TIMEOUT_US: Final = 5 * SECOND_US


@dataclass(eq=False, slots=True)
class SimLink:
    """A link; each end has its own number for it."""

    dialler: "SimNode"
    acceptor: "SimNode"
    at_dialler: LinkId
    at_acceptor: LinkId
    is_block_only: bool
    is_open: bool = True
    last_us: dict[tuple[int, int], int] = field(default_factory=dict)  # arrivals, by lane

    def peer(self, node: "SimNode") -> "tuple[SimNode, LinkId]":
        """Return the other end and its number of the link."""
        if node is self.dialler:
            return self.acceptor, self.at_acceptor
        return self.dialler, self.at_dialler


@dataclass(frozen=True, slots=True)
class Garbage:
    """Bytes that are not a frame."""

    why: str


Tamper = Callable[[Message], tuple[Message | Garbage, ...]]  # replaces a message of a lying node


class Network:
    """All nodes and wires."""

    def __init__(self, world: World, *, loss: float, encodes: bool) -> None:
        """With `encodes`, each message is encoded and decoded; otherwise the object is passed on.

        `loss` is the probability of a retransmission: TCP delays, but does not lose.
        """
        self.world = world
        self.tampers: dict[int, Tamper] = {}  # by the number of a lying node
        self.messages: Counter[str] = Counter()  # sent, by type
        self.nodes: list[SimNode] = []
        self.names: dict[str, tuple[Address, ...]] = {}  # what name servers answer
        self.short_ids = SharedShortIds()
        self.links: dict[int, SimLink] = {}  # by the number of either end; all are unique
        self.sent_bytes = 0
        self._rng = world.random.random
        self._loss = loss
        self._encodes = encodes
        self._listening: dict[Address, SimNode] = {}
        self._side: dict[int, int] = {}  # of a partition, by node; empty: none
        self._requests: dict[Token, tuple[SimLink, Request]] = {}

    def add(self, node: "SimNode") -> None:
        """Put a node on the network."""
        self.nodes.append(node)
        if node.listen is not None:
            self._listening[node.listen] = node

    def find(self, address: Address, caller: "SimNode") -> "SimNode | None":
        """Return the node that accepts connections at an address from this caller."""
        node = self._listening.get(address)
        if node is None or not node.is_up or not self._is_reachable(node, caller):
            return None
        return node

    def latency_us(self, one: "SimNode", other: "SimNode") -> int:
        """Return the latency of a small message now."""
        base_us = LATENCY_MS[one.region][other.region] * 1000
        jitter_us = JITTER * base_us * self._rng()
        lost = self._loss > 0 and self._rng() < self._loss
        delay_us = int(base_us + jitter_us) + one.delay_us + other.delay_us
        return delay_us + (RESEND_US + 2 * base_us if lost else 0)

    def partition(self, sides: Iterable[Iterable[int]]) -> None:
        """Partition the nodes into sides (by number) that cannot reach each other."""
        self._side = {node: number for number, side in enumerate(sides) for node in side}
        for wire in list(self.links.values()):
            if wire.is_open and not self._is_reachable(wire.dialler, wire.acceptor):
                self.cut(wire, "partition")

    def heal(self) -> None:
        """End the partition."""
        self._side = {}

    def cut(self, wire: SimLink, why: str) -> None:
        """Break a link; the ends that are up are notified."""
        wire.is_open = False
        self.links.pop(wire.at_dialler, None)
        self.links.pop(wire.at_acceptor, None)
        wire.dialler.lost(wire.at_dialler, why)
        wire.acceptor.lost(wire.at_acceptor, why)

    def hang_up(self, node: "SimNode", link: LinkId) -> None:
        """End a link from one end; the other is notified after all that was sent has arrived."""
        wire = self.links.pop(link, None)
        if wire is None or not wire.is_open:
            return
        wire.is_open = False
        peer, peer_link = wire.peer(node)
        self.links.pop(peer_link, None)
        latest_us = max(wire.last_us.values(), default=0)
        arrival_us = max(self.world.time_us + self.latency_us(node, peer), latest_us)
        self.world.at(arrival_us, lambda: peer.lost(peer_link, "the other side hung up"))

    def send(self, node: "SimNode", send: Send) -> None:
        """Carry a message, or a request, to the other end."""
        wire = self.links.get(send.link)
        if wire is None:
            return
        message = send.message
        assert not (wire.is_block_only and isinstance(message, UNWANTED)), "a link for blocks only"
        tamper = self.tampers.get(node.number)
        for part in (message,) if tamper is None else tamper(message):
            self._send(wire, node, part)

    def inject(self, node: "SimNode", link: LinkId, part: Message | Garbage) -> None:
        """Carry a message that the node's core did not send."""
        wire = self.links.get(link)
        if wire is not None:
            self._send(wire, node, part)

    def reply(self, node: "SimNode", token: Token, message: Message, *, is_last: bool) -> None:
        """Carry a part of the answer to a request."""
        pending = self._requests.get(token)
        if pending is None or not pending[0].is_open:
            return
        wire, request = pending
        tamper = self.tampers.get(node.number)
        for part in (message,) if tamper is None else tamper(message):
            size, event = self._event(wire.at_dialler, part)
            self._carry(wire, node, (-int(token), size), event)
        if is_last:
            del self._requests[token]
            answered = RequestFinished(wire.at_dialler, request, failed=False)
            self._carry(wire, node, (-int(token), 0), answered)

    def _send(self, wire: SimLink, node: "SimNode", message: Message | Garbage) -> None:
        if node is not wire.dialler:
            size, event = self._event(wire.at_dialler, message)
            self._carry(wire, node, (0, size), event)
            return
        link = wire.at_acceptor
        size, event = self._event(link, message)
        if isinstance(message, Garbage):
            self._carry(wire, node, (0, size), event)
        elif is_request(message):
            token = Token(self.world.number())
            request: Request = message  # type: ignore[assignment]  # is_request says so
            self._requests[token] = (wire, request)
            requested = Requested(link, token, request, size)
            self._carry(wire, node, (-int(token), size), requested)
        else:
            self._carry(wire, node, (int(is_bulk(message)), size), event)

    def _event(self, link: LinkId, message: Message | Garbage) -> tuple[int, Frames | BadFrame]:
        """Return a message's size, and its event at the other end, where the link is `link`."""
        self.messages[type(message).__name__] += 1
        if isinstance(message, Garbage):
            return GARBAGE_BYTES, BadFrame(link, message.why)
        if self._encodes:
            frame = encode_frame(message)
            return len(frame), Frames(link, tuple(decode_frames(frame)), len(frame))
        size = frame_size(message)
        return size, Frames(link, (message,), size)

    def _carry(self, wire: SimLink, node: "SimNode", load: tuple[int, int], event: Event) -> None:
        """Deliver an event to the other end, in order on its lane.

        `load` is the lane and the size. A negative lane is a request's own connection.
        """
        lane, size = load
        peer = wire.acceptor if node is wire.dialler else wire.dialler
        node.sent_bytes += size
        self.sent_bytes += size
        key = (node.number, lane)
        arrival_us = node.departure_us(size) + self.latency_us(node, peer)
        arrival_us = max(arrival_us, wire.last_us.get(key, 0))
        wire.last_us[key] = arrival_us

        def arrive() -> None:
            if lane < 0 and wire.last_us.get(key) == arrival_us:
                del wire.last_us[key]
            peer.handle(event)  # the core ignores it if the link has ended

        self.world.at(arrival_us, arrive)

    def _is_reachable(self, one: "SimNode", other: "SimNode") -> bool:
        return self._side.get(one.number) == self._side.get(other.number)
