"""A network of mining nodes, and its measurements."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, count
from typing import Final

from chain.consensus.coin import Coin
from chain.gossip.config import config_for
from chain.gossip.events import Discovered
from chain.gossip.seeds import DnsSeed
from chain.gossip.wire.address import Address
from chain.node.entry import PoolEntry
from chain.primitives.block import Block
from chain.primitives.numbers import SECOND_US, Hash32, outpoint
from chain.simulator.backend import Backend
from chain.simulator.choices import NODES_MAX
from chain.simulator.light import LightNode
from chain.simulator.network import REGION_SHARES, Network
from chain.simulator.node import NodePlacement, SimNode
from chain.simulator.payments import SCRIPT
from chain.simulator.rules import SIMULATION
from chain.simulator.universe import Universe
from chain.simulator.world import World

PORT: Final = 9444
SEED: Final = DnsSeed("seed.example", PORT)
SEEDS_PER_NODE: Final = 16  # known addresses of each node at the start
START_SPREAD_S: Final = 10.0
FUNDING_SPACING_S: Final = 10.0
CONVERGENCE_STEP_S: Final = 0.1
MINER_SCRIPT: Final = b"\x00\x14" + bytes(20)  # P2WPKH without a known key


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The parameters of the network."""

    nodes: int
    seed: int
    nat_share: float = 0.6
    loss: float = 0.001
    encodes: bool = False  # whether each message is encoded and decoded
    skew_s: int = 0  # clocks are wrong by up to this
    has_seeds: bool = False  # nodes know only a name and the first node, and no addresses
    history: int = 0  # blocks that all nodes except the last have at the start; light nodes only


@dataclass(frozen=True, slots=True)
class Mined:
    """A block, and when (simulated microseconds) each node had it in its best chain."""

    block_id: Hash32
    found_us: int
    reached_us: dict[int, int]


class Scenario:
    """A running network; mines blocks and measures their propagation."""

    def __init__(self, shape: Shape, new_backend: Callable[[], Backend] | None = None) -> None:
        """`new_backend` creates each node's backend; default: light ones that share a universe."""
        if not 2 <= shape.nodes <= NODES_MAX:
            raise ValueError(f"between 2 and {NODES_MAX} nodes, not {shape.nodes}")
        self.world = World(shape.seed)
        self.network = Network(self.world, loss=shape.loss, encodes=shape.encodes)
        self.mined: list[Mined] = []
        self.universe = universe = Universe(SIMULATION)
        numbers = count()
        make = new_backend or (lambda: LightNode(universe, next(numbers)))
        public = max(1, round(shape.nodes * (1 - shape.nat_share)))
        self.nodes = [self._node(shape, number, public, make()) for number in range(shape.nodes)]
        self._powers = list(accumulate(1 / rank for rank in range(1, len(self.nodes) + 1)))
        if shape.history:
            self._write_history(shape.history)
        addresses = [node.listen for node in self.nodes if node.listen is not None]
        self.network.names[SEED.name] = tuple(addresses[:SEEDS_PER_NODE])
        for node in self.nodes:
            node.on_tip = self._reached
            self._start(node, [] if shape.has_seeds else addresses)
        self._miners = list(self.nodes)
        self.world.random.shuffle(self._miners)

    def close(self) -> None:
        """Close all ledgers."""
        for node in self.nodes:
            node.backend.close()

    def run_until_idle(self, duration_s: float = 120.0) -> None:
        """Let the nodes find each other."""
        self.world.run(duration_s)

    def mine(self, node: SimNode) -> Mined:
        """Let a node mine a block now, and measure its propagation."""
        block = node.mine(MINER_SCRIPT)
        mined = Mined(block.id, self.world.time_us, {node.number: self.world.time_us})
        self.mined.append(mined)
        if self.universe.pools:
            self._share(block)
        return mined

    def fill_pools(self, transactions: int) -> None:
        """From now on, put this many payments into all mempools for each block."""
        first = self.nodes[0]
        split = self.payment(transactions)
        self.universe.share(first.backend.tip.id, [split])
        self._share(first.mine(MINER_SCRIPT))
        self.world.run(FUNDING_SPACING_S)

    def payment(self, outputs: int) -> PoolEntry:
        """Let the first node mine a few blocks; return a payment from their coinbases."""
        first = self.nodes[0]
        funding = first.mine(SCRIPT).transactions[0]
        height = first.backend.tip.height
        for _ in range(self.universe.params.coinbase_maturity_blocks):
            self.world.run(FUNDING_SPACING_S)
            first.mine(MINER_SCRIPT)
        out = funding.outputs[0]
        coin = Coin(out.value, SCRIPT, height, from_coinbase=True)
        return self.universe.payments.split(outpoint(funding.txid, 0), coin, outputs)

    def _write_history(self, blocks: int) -> None:
        author = LightNode(self.universe)
        for _ in range(blocks):
            self.world.skip(SIMULATION.spacing_s)
            author.mine(MINER_SCRIPT, self.world.number(), self.world.unix_s)
        for node in self.nodes[:-1]:
            assert isinstance(node.backend, LightNode), "only light nodes share their blocks"
            node.backend.adopt(author)

    def _share(self, block: Block) -> None:
        height = self.universe.height(block.id)
        self.universe.share(block.id, self.universe.payments.next(height))

    def pick_miner(self) -> SimNode:
        """Return a random node, weighted by the mining power of the nodes."""
        point = self.world.random.uniform(0, self._powers[-1])
        return self._miners[bisect_left(self._powers, point)]

    def mine_steadily(self, blocks: int, interval_s: float) -> None:
        """Mine blocks at random times, and let the last one spread."""
        for _ in range(blocks):
            self.world.run(self.world.random.expovariate(1 / interval_s))
            self.mine(self.pick_miner())
        self.world.run(interval_s)

    def is_converged(self, among: Sequence[SimNode] | None = None) -> bool:
        """Return whether all nodes have the same tip."""
        nodes = among or self.nodes
        return len({node.backend.tip.id for node in nodes}) == 1

    def run_until_converged(self, timeout_s: float, among: Sequence[SimNode] | None = None) -> bool:
        """Run until all nodes have the same tip; return whether they do."""
        if self.is_converged(among):
            return True
        end_us = self.world.time_us + int(timeout_s * SECOND_US)
        while self.world.time_us < end_us:
            self.world.run(CONVERGENCE_STEP_S)
            if self.is_converged(among):
                return True
        return False

    def _reached(self, node: SimNode) -> None:
        entry = node.backend.tip
        for mined in reversed(self.mined[-20:]):
            known = node.backend.chain.get(mined.block_id)
            if known is not None and known.is_ancestor_of(entry):
                if node.number in mined.reached_us:
                    break  # and so did those before it
                mined.reached_us[node.number] = self.world.time_us

    def _node(self, shape: Shape, number: int, public: int, backend: Backend) -> SimNode:
        listen = _address(number) if number < public else None
        config = config_for(SIMULATION, agent=f"/simulated:{number}/", listen=listen)
        if shape.has_seeds:
            config = replace(config, seeds=(SEED, _address(0)))
        region = self.world.random.choices(range(len(REGION_SHARES)), REGION_SHARES)[0]
        offset_s = round(self.world.random.uniform(-shape.skew_s, shape.skew_s))
        place = NodePlacement(
            number=number, region=region, ip=_address(number).ip, clock_offset_s=offset_s
        )
        return SimNode(self.network, backend, config, place)

    def _start(self, node: SimNode, addresses: list[Address]) -> None:
        others = [address for address in addresses if address != node.listen]
        known = self.world.random.sample(others, min(SEEDS_PER_NODE, len(others)))

        def start() -> None:
            node.start()
            node.handle(Discovered(tuple(known)))

        self.world.after(int(self.world.random.uniform(0, START_SPREAD_S) * SECOND_US), start)


def _address(number: int) -> Address:
    """Return where a node would listen; each is in its own group."""
    return Address(bytes([20 + number // 256, number % 256, 0, 1]), PORT)
