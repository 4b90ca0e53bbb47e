"""A simulated node: the real gossip core, a backend, and a driver of its actions."""

from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Final

from chain.gossip.actions import (
    Action,
    Admit,
    Close,
    ConnectionType,
    Dial,
    Feeler,
    Pause,
    Refuse,
    Reply,
    ResolveSeed,
    Resume,
    SaveState,
    Send,
    Trace,
    ValidateBlocks,
    ValidateHeaders,
)
from chain.gossip.config import Config
from chain.gossip.events import (
    Accepted,
    Closed,
    DialFailed,
    DialFailure,
    Dialled,
    Event,
    FeelerSucceeded,
    Frames,
    LinkId,
    LocalBlock,
    LocalTx,
    Now,
    Requested,
    SeedResolved,
    Tick,
)
from chain.gossip.gossip import Gossip
from chain.gossip.peers.policy import may_dial
from chain.gossip.saved import SavedState
from chain.gossip.wire.address import Address
from chain.gossip.wire.hello import HelloReply
from chain.node.ledger_requests import LedgerRequest
from chain.primitives.block import Block
from chain.primitives.hashes import sha256
from chain.primitives.numbers import SECOND_US
from chain.primitives.transaction import Transaction
from chain.simulator.backend import Backend
from chain.simulator.network import (
    CONNECT_TIMEOUT_US,
    INTERLEAVED_BYTES_MAX,
    UPLOAD_BITS_PER_S,
    Network,
    SimLink,
)

if TYPE_CHECKING:
    from collections.abc import Callable

BLOCK_US: Final = 10_000  # processing time of a block, besides that of its bytes
BYTES_PER_US: Final = 10
HEADER_US: Final = 20
RESOLVE_US: Final = 50_000  # for a name server's answer
OTHER_US: Final = 500  # of a transaction or a read
_STATUS_FAILURES: Final = {
    403: DialFailure.FORBIDDEN,
    409: DialFailure.SELF,
    421: DialFailure.WRONG_NETWORK,
    426: DialFailure.VERSION,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePlacement:
    """A node's place in the network and its properties."""

    number: int
    region: int
    ip: bytes
    clock_offset_s: int = 0


class SimNode:
    """A node that can mine, crash and restart."""

    def __init__(
        self, network: Network, backend: Backend, config: Config, place: NodePlacement
    ) -> None:
        self._network = network
        self._world = network.world
        self._config = config
        self._place = place
        self._rng = Random(f"node {network.world.seed} {place.number}")  # noqa: S311
        self._secret = sha256(f"secret {network.world.seed} {place.number}".encode())
        self._saved = SavedState()
        self._epoch = 0  # counts process starts; answers to an earlier process are lost
        self._tick_us = -1
        self._uplink_free_us = 0
        self._actions_left: int | None = None  # until it crashes while it handles an event
        self._ledger_free_us = 0
        self._accepting: dict[LinkId, SimLink] = {}
        self._dial_of: dict[LinkId, Dial] = {}
        self.backend = backend
        self.on_tip: Callable[[SimNode], None] | None = None  # called for each new tip
        self._tip = backend.tip
        self.is_up = False
        self.number = place.number
        self.region = place.region  # index in LATENCY_MS
        self.upload_bits_per_s = UPLOAD_BITS_PER_S[place.region]
        self.delay_us = 0  # added to the latency of all its traffic
        self.clock_offset_s = place.clock_offset_s
        self.sent_bytes = 0
        self.traces: dict[str, int] = {}
        self.gossip = self._new_gossip()
        network.add(self)

    @property
    def listen(self) -> Address | None:
        """The address where it accepts links; None: behind NAT."""
        return self._config.listen

    @property
    def unix_s(self) -> int:
        """The time of its clock."""
        return self._world.unix_s + self.clock_offset_s

    def start(self) -> None:
        """Start the process; the core's first event is a Tick."""
        self.is_up = True
        self.handle(Tick())

    def crash(self) -> None:
        """End the process at once; unsaved state is lost."""
        self.is_up = False
        self._epoch += 1
        self._tick_us = -1
        self._ledger_free_us = 0
        for wire in list(self._network.links.values()):
            if self in (wire.dialler, wire.acceptor) and wire.is_open:
                self._network.cut(wire, "crash")

    def crash_after(self, actions: int) -> None:
        """Crash before the next action after this many more."""
        self._actions_left = actions

    def restart(self) -> None:
        """Start a new process with the saved state."""
        self.backend.restart()
        self.gossip = self._new_gossip()
        self.start()

    def mine(self, script: bytes) -> Block:
        """Mine a block now."""
        block = self.backend.mine(script, self._world.number(), self.unix_s)
        self.handle(LocalBlock(block))
        return block

    def submit(self, transaction: Transaction) -> bool:
        """Submit a transaction of this node's user; return whether it was accepted."""
        good = self.backend.submit(transaction, self.unix_s)
        if good:
            self.handle(LocalTx(transaction))
        return good

    def lost(self, link: LinkId, why: str) -> None:
        """Notify the core of the end of a link."""
        self.handle(Closed(link, why))

    def departure_us(self, size: int) -> int:
        """Return when the uplink will have sent this many bytes, and occupy it until then."""
        took_us = size * 8 * SECOND_US // self.upload_bits_per_s
        if size <= INTERLEAVED_BYTES_MAX:
            return self._world.time_us + took_us
        self._uplink_free_us = max(self._uplink_free_us, self._world.time_us) + took_us
        return self._uplink_free_us

    def handle(self, event: Event) -> None:
        """Pass an event to the core, and carry out its actions."""
        if not self.is_up:
            return
        self._world.note(self.number, _label(event))
        for action in self.gossip.handle(event, Now(self._world.time_us, self.unix_s)):
            if self._actions_left is not None and self._is_killed():
                return
            self._perform(action)
        self._set_timer()
        if self.on_tip is not None and self.backend.tip != self._tip:
            self._tip = self.backend.tip
            self.on_tip(self)

    def _is_killed(self) -> bool:
        """Count down to the requested crash."""
        assert self._actions_left is not None, "it is counted"
        self._actions_left -= 1
        if self._actions_left >= 0:
            return False
        self._actions_left = None
        self.crash()
        return True

    def _new_gossip(self) -> Gossip:
        return Gossip(
            self._config,
            self._rng,
            self._secret,
            self.backend.chain,
            self.backend.pool,
            self._saved,
            self._network.short_ids,
        )

    def _set_timer(self) -> None:
        due_us = self.gossip.next_deadline()
        if due_us is None or (0 <= self._tick_us <= due_us):
            return
        self._tick_us = due_us
        epoch = self._epoch

        def tick() -> None:
            if self._epoch == epoch and self._tick_us == due_us:
                self._tick_us = -1
                self.handle(Tick())

        self._world.at(due_us, tick)

    def _perform(self, action: Action) -> None:
        match action:
            case Send() | Reply() | Close() | Pause() | Resume():
                self._perform_on_link(action)
            case Dial() | Feeler():
                self._reach(action)
            case ResolveSeed():
                found = self._network.names.get(action.seed.name, ())
                self._call_later(RESOLVE_US, SeedResolved(action.seed, found))
            case Admit():
                wire = self._accepting.pop(action.link)
                wire.dialler.admitted(wire, action.reply)
            case Refuse():
                wire = self._accepting.pop(action.link)
                wire.dialler.refused(wire, action)
            case SaveState():
                self._saved = replace(self._saved, **{action.part.value: action.data})
            case Trace():
                self.traces[action.kind] = self.traces.get(action.kind, 0) + 1
            case _:
                self._send_to_ledger(action)

    def _perform_on_link(self, action: Send | Reply | Close | Pause | Resume) -> None:
        match action:
            case Send():
                self._network.send(self, action)
            case Reply():
                self._network.reply(self, action.token, action.message, is_last=action.is_last)
            case Close():
                self._network.hang_up(self, action.link)
            case Pause() | Resume():
                kind = type(action).__name__  # full receive buffers are not modelled
                self.traces[kind] = self.traces.get(kind, 0) + 1

    def _send_to_ledger(self, request: LedgerRequest) -> None:
        """Queue a request for the ledger thread, which answers one after another."""
        start_us = max(self._ledger_free_us, self._world.time_us)
        self._ledger_free_us = start_us + _cost_us(request)
        epoch = self._epoch

        def handle() -> None:
            if self._epoch == epoch:
                self.handle(self.backend.handle(request, self.unix_s))

        self._world.at(self._ledger_free_us, handle)

    def _reach(self, dial: Dial | Feeler) -> None:
        """Connect: GET /hello, then POST /links."""
        is_named = dial.address in self._config.seeds
        assert is_named or may_dial(dial.address, self._config.reach), f"node {self.number} may not"
        target = self._network.find(dial.address, self)
        if target is None:
            failed = DialFailed(dial.dial, DialFailure.UNREACHABLE)
            self._call_later(CONNECT_TIMEOUT_US, failed)
            return
        round_trip_us = 2 * self._network.latency_us(self, target)
        if isinstance(dial, Feeler):
            self._call_later(2 * round_trip_us, FeelerSucceeded(dial.dial, target.gossip.hello()))
            return
        is_block_only = dial.connection_type is ConnectionType.BLOCK_RELAY
        wire = SimLink(self, target, self._link(), self._link(), is_block_only)
        self._dial_of[wire.at_dialler] = dial
        self._world.after(2 * round_trip_us + round_trip_us // 2, lambda: target.accept(wire, dial))

    def accept(self, wire: SimLink, dial: Dial) -> None:
        """Handle a POST /links."""
        still_there = self._network.find(dial.address, wire.dialler) is self
        if not still_there or not wire.dialler.is_up:
            wire.dialler.handle(DialFailed(dial.dial, DialFailure.UNREACHABLE))
            return
        self._accepting[wire.at_acceptor] = wire
        self._network.links[wire.at_dialler] = self._network.links[wire.at_acceptor] = wire
        remote = Address(wire.dialler.ip, 40_000)
        self.handle(Accepted(wire.at_acceptor, remote, dial.hello))

    def admitted(self, wire: SimLink, reply: HelloReply) -> None:
        """Handle the 201, before anything else on the down stream."""
        dial = self._dial_of.pop(wire.at_dialler)
        arrival_us = self._world.time_us + self._network.latency_us(wire.acceptor, self)
        wire.last_us[wire.acceptor.number, 0] = arrival_us
        self._call_later(
            arrival_us - self._world.time_us, Dialled(dial.dial, wire.at_dialler, reply)
        )

    def refused(self, wire: SimLink, refusal: Refuse) -> None:
        """Handle any other status."""
        dial = self._dial_of.pop(wire.at_dialler)
        wire.is_open = False
        self._network.links.pop(wire.at_dialler)
        self._network.links.pop(wire.at_acceptor)
        why = _STATUS_FAILURES.get(refusal.status, DialFailure.BUSY)
        failed = DialFailed(dial.dial, why, refusal.retry_after_s)
        self._call_later(self._network.latency_us(wire.acceptor, self), failed)

    @property
    def ip(self) -> bytes:
        """The IP address that others see."""
        return self._place.ip

    def _call_later(self, delay_us: int, event: Event) -> None:
        epoch = self._epoch

        def happen() -> None:
            if self._epoch == epoch:
                self.handle(event)

        self._world.after(delay_us, happen)

    def _link(self) -> LinkId:
        return LinkId(self._world.number())


def _cost_us(request: LedgerRequest) -> int:
    match request:
        case ValidateBlocks():
            return sum(BLOCK_US + len(block.raw) // BYTES_PER_US for block in request.blocks)
        case ValidateHeaders():
            return HEADER_US * len(request.headers)
        case _:
            return OTHER_US


def _label(event: Event) -> str:
    """Return the text for an event in the trace."""
    match event:
        case Frames():
            inside = ",".join([type(message).__name__ for message in event.messages])
            return f"Frames {event.link} {inside} {event.size}"
        case Requested():
            return f"Requested {event.link} {type(event.message).__name__} {event.size}"
        case Closed():
            return f"Closed {event.link} {event.why}"
        case _:
            return type(event).__name__
