"""Attacks: peers that flood, hide transactions, or send corrupted messages."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from chain.gossip.transactions.txrequest import REQUEST_TIMEOUT_S
from chain.gossip.wire.address import Address
from chain.gossip.wire.compact import BlockTransactions, CompactBlock
from chain.gossip.wire.frames import decode_frames, encode_frame
from chain.gossip.wire.messages import (
    Addresses,
    AddressRecord,
    BlockMessage,
    Headers,
    Inv,
    Inventory,
    Message,
    NotFound,
    TxMessage,
)
from chain.primitives.block import Header
from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import SECOND_US, Amount, Hash32, OutPoint
from chain.primitives.transaction import Transaction, TxIn, TxOut
from chain.simulator.delays import delays_ms, mean, quantile
from chain.simulator.network import Garbage, Tamper
from chain.simulator.node import SimNode
from chain.simulator.rules import SIMULATION
from chain.simulator.scenario import Scenario, Shape
from chain.simulator.scenarios.outcome import Findings, Size
from chain.simulator.scenarios.steady import mutated
from chain.simulator.solve import solved_header

Part = Message | Garbage
Flood = Callable[[Scenario, Random], Part]
CULPRIT_SHARE: Final = 0.125
FLOOD_INTERVAL_US: Final = SECOND_US // 4  # between two messages on one link
HISTORY: Final = 400  # blocks; then a few forged headers have too little work
SLOWER_FACTOR_MAX: Final = 1.2
BLOCK_INTERVAL_S: Final = 5
LOW_WORK_HEADERS: Final = 100
WITHHELD_HEADERS: Final = 2  # so that they have more work than the next honest block
TRANSACTIONS: Final = 100  # of a block, honest or forged
FLOOD_MESSAGES: Final = 16  # different ones, repeated
STEP_S: Final = 0.5
HIDDEN_RUNS: Final = 4  # requirements hold on average; a single run is random
HIDDEN_STEPS_MAX: Final = 1200
EACH_WAY: Final = 0.05  # of a lying node's messages


@dataclass(frozen=True, slots=True)
class AttackMethod:
    """An attacker's messages: those that it repeats, and those that replace honest ones.

    Proof of work is free in the simulator, so there are hundreds of forged blocks with valid
    headers. On a real network, each would cost the work of a block.
    """

    flood: Flood | None = None
    tamper: Tamper | None = None


def spam(size: Size) -> Findings:
    """Let every eighth node flood, by each method: blocks still spread."""
    found = Findings()
    quiet_ms = _flooded_ms(size, Findings(), AttackMethod())
    found.figures["p90 ms, no flood"] = quiet_ms
    for name, method in _WAYS.items():
        part = Findings()
        p90_ms = _flooded_ms(size, part, method)
        found.broken += [f"{name}: {what}" for what in part.broken]
        found.figures[f"{name}: p90 ms"] = p90_ms
        found.figures[f"{name}: culprits' links"] = part.figures["culprits' links"]
        found.at_most(f"{name}: slower by the factor", p90_ms / quiet_ms, SLOWER_FACTOR_MAX)
    return found


def _flooded_ms(size: Size, found: Findings, method: AttackMethod) -> float:
    """Return the p90 delay to the nodes that do not flood."""
    scenario = Scenario(Shape(nodes=size.nodes, seed=size.seed, history=HISTORY))
    step = round(1 / CULPRIT_SHARE)
    culprits = scenario.nodes[::step]
    honest = [node for node in scenario.nodes if node not in culprits]
    scenario.run_until_idle()
    scenario.fill_pools(TRANSACTIONS)
    rng = Random(f"flood {size.seed}")  # noqa: S311 - a simulation
    for node in culprits:
        if method.tamper is not None:
            scenario.network.tampers[node.number] = method.tamper
        if method.flood is not None:
            _keep_flooding(scenario, node, method.flood, rng)
    for turn in range(size.blocks):
        scenario.mine(honest[turn * 5 % len(honest)])
        scenario.world.run(BLOCK_INTERVAL_S)
    found.require("all are on one tip", holds=scenario.run_until_converged(60, honest))
    found.figures["culprits' links"] = sum(len(node.gossip.peers()) for node in culprits)
    found.require_invariants(scenario, honest)
    return quantile(delays_ms(scenario.mined, {node.number for node in honest}), 0.9)


def _keep_flooding(scenario: Scenario, node: SimNode, flood: Flood, rng: Random) -> None:
    made: list[Part] = []
    tip = None

    def again() -> None:
        nonlocal made, tip
        if tip != scenario.nodes[1].backend.tip:  # some messages are about the tip
            tip = scenario.nodes[1].backend.tip
            made = [flood(scenario, rng) for _ in range(FLOOD_MESSAGES)]
        for peer in node.gossip.peers():
            scenario.network.inject(node, peer.link, rng.choice(made))
        scenario.world.after(FLOOD_INTERVAL_US, again)

    again()


def _inv(_: Scenario, rng: Random) -> Part:
    return Inv(tuple(Inventory(5, Hash32(rng.randbytes(32))) for _ in range(1000)))


def _transaction(_: Scenario, rng: Random) -> Part:
    spent = TxIn(OutPoint(rng.randbytes(32) + bytes(4)))
    return TxMessage(Transaction(2, [spent], [TxOut(Amount(1000), b"\x00\x14" + bytes(20))], 0))


def _low_work(scenario: Scenario, rng: Random) -> Part:
    return _false_headers(scenario.universe.genesis.header, LOW_WORK_HEADERS, rng)


def _withheld(scenario: Scenario, rng: Random) -> Part:
    return _false_headers(scenario.nodes[1].backend.tip.header, WITHHELD_HEADERS, rng)


def _false_headers(parent: Header, count: int, rng: Random) -> Headers:
    headers = []
    for _ in range(count):
        root, bits = Hash32(rng.randbytes(32)), SIMULATION.target_limit_bits
        header = Header(4, parent.id, root, parent.time + 1, bits, 0)
        headers.append(parent := solved_header(header, SIMULATION))
    return Headers(tuple(headers))


def _compact(scenario: Scenario, rng: Random) -> Part:
    (header,) = _false_headers(scenario.nodes[1].backend.tip.header, 1, rng).headers
    return _garbled(CompactBlock(header, 0, (0,) * TRANSACTIONS, ()), rng)


def _garbled(message: CompactBlock, rng: Random) -> CompactBlock:
    short_ids = tuple(rng.getrandbits(48) for _ in message.short_ids)
    return CompactBlock(message.header, message.nonce, short_ids, message.prefilled)


def _silent(message: Message) -> tuple[Part, ...]:
    """Drop the messages that carry blocks."""
    return () if isinstance(message, BlockMessage | BlockTransactions | NotFound) else (message,)


def _garbling(message: Message) -> tuple[Part, ...]:
    """Send honest headers with random short ids, at no cost of work."""
    if isinstance(message, CompactBlock):
        return (_garbled(message, Random(message.block_id)),)  # noqa: S311
    return _silent(message)


def _addresses(scenario: Scenario, rng: Random) -> Part:
    now_s = scenario.world.unix_s
    return Addresses(
        tuple(
            AddressRecord(Address(bytes([60, *rng.randbytes(3)]), 9444), now_s, 1)
            for _ in range(1000)
        )
    )


def _oversize(_: Scenario, __: Random) -> Part:
    return Garbage("a frame of type 14 with 5000000 bytes")


_WAYS: Final[dict[str, AttackMethod]] = {
    "announcements": AttackMethod(_inv),
    "transactions": AttackMethod(_transaction),
    "low-work headers": AttackMethod(_low_work),
    "compact blocks": AttackMethod(_compact, _silent),
    "withheld blocks": AttackMethod(_withheld, _silent),
    "garbled blocks": AttackMethod(None, _garbling),
    "addresses": AttackMethod(_addresses),
    "oversize frames": AttackMethod(_oversize),
}


def censorship(size: Size) -> Findings:
    """Let half of all peers announce a transaction and not deliver it: it still arrives.

    With P peers of which H are honest, it takes P / (H + 1) timeouts more on average: peers are
    asked in random order, each once.
    """
    found = Findings()
    sizes = [replace(size, seed=size.seed + 1000 * turn) for turn in range(HIDDEN_RUNS)]
    open_s = mean([_spread_s(size, found, []) for size in sizes])
    hidden_s = mean([_spread_s(size, found, range(size.nodes // 2)) for size in sizes])
    honest = size.nodes - size.nodes // 2
    limit_s = (size.nodes - 1) / (honest + 1) * REQUEST_TIMEOUT_S
    found.figures["s, without censorship"] = round(open_s, 1)
    found.figures["s"] = round(hidden_s, 1)
    found.at_most("s longer", hidden_s - open_s, limit_s)
    return found


def _spread_s(size: Size, found: Findings, censors: Sequence[int]) -> float:
    """Return the mean delay of a payment to the nodes that do not hide it."""
    scenario = Scenario(Shape(nodes=size.nodes, seed=size.seed, nat_share=0.0))
    scenario.run_until_idle()
    payment = scenario.payment(1).transaction
    scenario.mine(scenario.nodes[0])
    scenario.world.run(BLOCK_INTERVAL_S)
    for number in censors:
        scenario.network.tampers[number] = _hiding
    honest = [node for node in scenario.nodes if node.number not in censors]
    found.require("the payment is good", holds=honest[-1].submit(payment))
    took_s: dict[int, float] = {}
    for step in range(HIDDEN_STEPS_MAX):
        for node in honest:
            if node.backend.pool.by_txid(payment.txid) is not None:
                took_s.setdefault(node.number, step * STEP_S)
        if len(took_s) == len(honest):
            break
        scenario.world.run(STEP_S)
    found.at_least("honest nodes that it reached", len(took_s), len(honest))
    found.require_invariants(scenario)
    return mean(list(took_s.values()))


def _hiding(message: Message) -> tuple[Part, ...]:
    return () if isinstance(message, TxMessage) else (message,)


def byzantine(size: Size) -> Findings:
    """Let every fifth node drop, repeat, delay, corrupt and forge its messages."""
    found = Findings()
    scenario = Scenario(Shape(nodes=size.nodes, seed=size.seed))
    liars = scenario.nodes[::5]
    honest = [node for node in scenario.nodes if node not in liars]
    for node in liars:
        scenario.network.tampers[node.number] = Mutator(Random(f"{size.seed} {node.number}"))  # noqa: S311
    scenario.run_until_idle()
    payment = scenario.payment(1).transaction
    for turn in range(size.blocks):
        scenario.mine(honest[turn * 3 % len(honest)] if turn % 3 else liars[turn % len(liars)])
        scenario.world.run(BLOCK_INTERVAL_S)
    found.require("the payment is good", holds=honest[0].submit(payment))
    scenario.world.run(120)
    scenario.mine(honest[0])
    found.require("all are on one tip", holds=scenario.run_until_converged(600, honest))
    found.figures["frames sent"] = sum(scenario.network.messages.values())
    found.figures["events"] = scenario.world.events
    found.require_invariants(scenario, honest)
    return found


class Mutator:
    """Changes an honest node's messages as a broken or malicious node would."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._held: Message | None = None
        self._mutations = (self._drop, self._repeat, self._hold, self._flip, self._forge)

    def __call__(self, message: Message) -> tuple[Part, ...]:
        """Return the messages that replace a message."""
        held, self._held = self._held, None
        late = () if held is None else (held,)
        method = int(self._rng.random() / EACH_WAY)
        sent = self._mutations[method](message) if method < len(self._mutations) else (message,)
        return (*sent, *late)

    def _drop(self, _: Message) -> tuple[Part, ...]:
        return ()

    def _repeat(self, message: Message) -> tuple[Part, ...]:
        return (message, message)

    def _hold(self, message: Message) -> tuple[Part, ...]:
        """Send a message after the next one."""
        self._held = message
        return ()

    def _flip(self, message: Message) -> tuple[Part, ...]:
        """Flip a bit of a message's frame; return the result of decoding it.

        A larger length counts as an incomplete frame.
        """
        frame = bytearray(encode_frame(message))
        frame[self._rng.randrange(len(frame))] ^= 1 << self._rng.randrange(8)
        try:
            decoded = decode_frames(bytes(frame))
        except DecodeError as error:
            return (Garbage(str(error)),)
        return tuple(decoded)

    def _forge(self, message: Message) -> tuple[Part, ...]:
        if isinstance(message, BlockMessage):
            return (BlockMessage(mutated(message.raw)),)
        if isinstance(message, Headers):
            return (Headers(message.headers[::-1]),)
        return (message,)
