"""What holds in every network at rest, whatever happened before."""

from collections.abc import Sequence

from chain.consensus.subsidy import supply_after
from chain.gossip.arrivals import ARRIVED_BYTES_MAX, VALIDATING_MAX
from chain.gossip.blockfetch import COPIES_MAX, IN_FLIGHT_PER_LINK_MAX
from chain.simulator.node import SimNode
from chain.simulator.rules import SIMULATION
from chain.simulator.scenario import Scenario


def check_invariants(scenario: Scenario, among: Sequence[SimNode] | None = None) -> None:
    """Raise AssertionError, with the seed, if one does not hold for these nodes (default all)."""
    nodes = [node for node in among or scenario.nodes if node.is_up]
    seed = f"seed {scenario.world.seed}: replay with Shape(nodes={len(scenario.nodes)}, ...)"
    tips = {node.backend.tip.id for node in nodes}
    assert len(tips) == 1, f"{seed}: {len(tips)} tips"
    best = max(scenario.nodes[0].backend.tip.chain_work, nodes[0].backend.tip.chain_work)
    assert nodes[0].backend.tip.chain_work == best, seed
    _check_supply(scenario, nodes[0], seed)
    for node in nodes:
        _check_bounds(node, f"{seed}, node {node.number}")


def _check_supply(scenario: Scenario, node: SimNode, seed: str) -> None:
    """No block made or lost coins; coins of a tip exist only if all its blocks were valid."""
    at = scenario._universe.coins(node.backend.tip.id)
    total = 0
    while at is not None:
        total += sum(coin.value for coin in at.created.values())
        total -= sum(coin.value for coin in at.removed.values())
        at = at.parent
    assert total == supply_after(node.backend.tip.height, SIMULATION), seed


def _check_bounds(node: SimNode, who: str) -> None:
    gossip = node.gossip
    fetch, requests, arrivals = gossip._fetch, gossip._intake.requests, gossip._arrivals
    assert all(len(f.flights) <= IN_FLIGHT_PER_LINK_MAX for f in fetch._fetches.values()), who
    assert all(count <= COPIES_MAX for count in fetch._copies.values()), who
    assert all(requests.in_flight(item) <= 1 for item in requests._wanted), who
    assert len(arrivals._busy) <= VALIDATING_MAX, who
    assert arrivals._waiting_bytes <= ARRIVED_BYTES_MAX, who
    open_links = [peer.link for peer in gossip.peers()]
    for table in (fetch._fetches, requests._by_link, gossip._serving._questions):
        assert list(table) == open_links, f"{who} remembers a link that ended"
