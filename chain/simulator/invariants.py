"""Invariants of every idle network, whatever happened before."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from chain.consensus.subsidy import supply_after
from chain.gossip.blocks.block_download import COPIES_MAX, IN_FLIGHT_PER_LINK_MAX
from chain.gossip.blocks.block_queue import QUEUED_BYTES_MAX, VALIDATING_MAX
from chain.primitives.numbers import Hash32
from chain.simulator.node import SimNode
from chain.simulator.rules import SIMULATION
from chain.simulator.scenario import Scenario

if TYPE_CHECKING:
    from chain.simulator.universe import BranchCoins


def broken_invariants(scenario: Scenario, among: Sequence[SimNode] | None = None) -> list[str]:
    """Return the broken invariants of these nodes (default: all that are up)."""
    return list(_broken(scenario, [node for node in among or scenario.nodes if node.is_up]))


def _broken(scenario: Scenario, nodes: Sequence[SimNode]) -> Iterator[str]:
    tips = {node.backend.tip.id: node.backend.tip for node in nodes}
    if len(tips) > 1:
        yield f"{len(tips)} tips"
    best = max(node.backend.tip.chain_work for node in scenario.nodes)
    if all(tip.chain_work < best for tip in tips.values()):
        yield "someone knows of more work"
    for tip_id, tip in tips.items():
        if _supply(scenario, tip_id) != supply_after(tip.height, SIMULATION):
            yield f"at height {tip.height} there are other coins than were paid out"
    for node in nodes:
        for what, holds in _bounds(node).items():
            if not holds:
                yield f"node {node.number}: {what}"


def _supply(scenario: Scenario, tip_id: Hash32) -> int:
    """Return the coins after a block; known only if all its ancestors are valid."""
    at: BranchCoins | None = scenario.universe.coins(tip_id)
    total = 0
    while at is not None:
        total += sum(coin.value for coin in at.created.values())
        total -= sum(coin.value for coin in at.removed.values())
        at = at.parent
    return total


def _bounds(node: SimNode) -> dict[str, bool]:
    """Return whether each bound holds, by the text for a broken one."""
    gossip = node.gossip
    fetch, requests, arrivals = (
        gossip._block_download,
        gossip._tx_download.requests,
        gossip._block_queue,
    )
    open_links = [peer.link for peer in gossip.peers()]
    tables = (fetch._fetches, requests._by_link, gossip._serving._requests)
    return {
        "a link was asked for too many blocks": all(
            len(found.flights) <= IN_FLIGHT_PER_LINK_MAX for found in fetch._fetches.values()
        ),
        "a block was asked of too many": all(
            count <= COPIES_MAX for count in fetch._requested_from.values()
        ),
        "a transaction was asked of two at once": all(
            requests.in_flight(item) <= 1 for item in requests._tracked
        ),
        "too many blocks are being validated": len(arrivals._validating_ids) <= VALIDATING_MAX,
        "too many bytes wait": arrivals._queued_bytes <= QUEUED_BYTES_MAX,
        "a link that ended is remembered": all(list(table) == open_links for table in tables),
    }
