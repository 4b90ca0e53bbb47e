"""Networks without faults: block propagation, nodes behind NAT, and the initial download."""

from typing import Final

from chain.gossip.blocks.block_download import WINDOW_BYTES_MAX
from chain.gossip.wire.messages import BlockMessage, Headers, Message
from chain.primitives.block import Block, decode_block
from chain.primitives.numbers import SECOND_US
from chain.primitives.transaction import Transaction, TxIn
from chain.simulator.network import Garbage
from chain.simulator.scenario import Scenario, Shape
from chain.simulator.scenarios.outcome import Findings, Size
from chain.simulator.simulate import simulate

Part = Message | Garbage
P50_MS_MAX: Final = 600
P90_MS_MAX: Final = 1200
BYTES_MAX: Final = 75_000  # per node and block of 2000 transactions
STALE_MAX: Final = 0.0075  # at 120 s; 0.15 % at 600 s
INBOUND_MAX: Final = 250
SYNC_FACTOR_MAX: Final = 1.3
SYNC_TIMEOUT_S: Final = 7200
BAD_PEERS: Final = 3
POLL_S: Final = 1.0
SLOW_BITS_PER_S: Final = 128_000
SLOW_DELAY_US: Final = 2_500_000  # one way: a round trip takes 5 s


def steady(size: Size) -> Findings:
    """Spread blocks of 2000 transactions quickly, cheaply, and to all."""
    found = Findings()
    report, _ = simulate(size.nodes, size.blocks, size.seed)
    found.require("all nodes on one tip", holds=report.converged)
    found.at_least("coverage", report.coverage, 1)
    found.at_most("p50 ms", report.block_p50_ms, P50_MS_MAX)
    found.at_most("p90 ms", report.block_p90_ms, P90_MS_MAX)
    found.at_most("bytes a node a block", report.bytes_per_node_per_block, BYTES_MAX)
    found.at_most("stale rate, implied", report.stale_rate, STALE_MAX)
    found.figures["p99 ms"] = report.block_p99_ms
    return found


def behind_nat(size: Size) -> Findings:
    """Let all blocks reach all nodes although 95 % can only dial."""
    found = Findings()
    scenario = Scenario(Shape(nodes=size.nodes, seed=size.seed, nat_share=0.95))
    scenario.run_until_idle()
    before = [node.sent_bytes for node in scenario.nodes]
    for _ in range(size.blocks):
        scenario.mine(scenario.pick_miner())
        scenario.world.run(10)
    reached = [len(mined.reached_us) for mined in scenario.mined]
    found.at_least("nodes that a block reached", min(reached), size.nodes)
    inbound = [
        sum(peer.connection_type is None for peer in node.gossip.peers()) for node in scenario.nodes
    ]
    found.at_most("inbound links", max(inbound), INBOUND_MAX)
    sent = [
        node.sent_bytes - sent_before
        for node, sent_before in zip(scenario.nodes, before, strict=True)
    ]
    found.figures["bytes that the busiest sent a block"] = max(sent) / size.blocks
    found.require_invariants(scenario)
    return found


def first_sync(size: Size) -> Findings:
    """Download a long chain nearly as fast although one peer stalls, one is slow and one lies."""
    found = Findings()
    good_s = _sync_s(size, Findings(), bad=False)
    bad_s = _sync_s(size, found, bad=True)
    found.figures["honest peers only, s"] = round(good_s, 1)
    found.figures["three bad ones, s"] = round(bad_s, 1)
    found.at_most("slower by the factor", bad_s / good_s, SYNC_FACTOR_MAX)
    return found


def _sync_s(size: Size, found: Findings, *, bad: bool) -> float:
    """Return how long the last node took to download the chain."""
    shape = Shape(nodes=size.nodes, seed=size.seed, nat_share=0.0, history=size.blocks)
    scenario = Scenario(shape)
    late = scenario.nodes[-1]
    if bad:
        _add_faults(scenario)
    start_us = scenario.world.time_us
    largest = 0
    for _ in range(int(SYNC_TIMEOUT_S / POLL_S)):
        if scenario.world.run(POLL_S, until=lambda: late.backend.tip.height == size.blocks):
            break
        largest = max(largest, late.gossip._block_queue.size)
    took_s = (scenario.world.time_us - start_us) / SECOND_US
    found.at_least("height", late.backend.tip.height, size.blocks)
    found.at_most("bytes that waited", largest, WINDOW_BYTES_MAX)
    if bad:
        liar = scenario.nodes[BAD_PEERS - 1].listen
        linked = [peer.address for peer in late.gossip.peers()]
        found.require("the liar is no peer any more", holds=liar not in linked)
    found.require_invariants(scenario)
    return took_s


def _add_faults(scenario: Scenario) -> None:
    """Let one peer deliver no block, one be slow, and one send mutated blocks."""
    staller, slow, liar = scenario.nodes[:BAD_PEERS]
    scenario.network.tampers[staller.number] = _withholding
    slow.upload_bits_per_s, slow.delay_us = SLOW_BITS_PER_S, SLOW_DELAY_US
    scenario.network.tampers[liar.number] = _mutating


def _withholding(message: Message) -> tuple[Part, ...]:
    return () if isinstance(message, BlockMessage) else (message,)


def _mutating(message: Message) -> tuple[Part, ...]:
    if isinstance(message, BlockMessage):
        return (BlockMessage(mutated(message.raw)),)
    if isinstance(message, Headers) and len(message.headers) > 1:
        return (Headers(message.headers[:-1]),)
    return (message,)


def mutated(raw: bytes) -> bytes:
    """Return the block with another witness nonce and the same header."""
    block = decode_block(raw)
    first = block.transactions[0]
    spent = first.inputs[0]
    changed = TxIn(spent.outpoint, spent.script_sig, spent.sequence, (b"\x07" * 32,))
    coinbase = Transaction(first.version, [changed], first.outputs, first.lock_time)
    return Block(block.header, [coinbase, *block.transactions[1:]]).raw
