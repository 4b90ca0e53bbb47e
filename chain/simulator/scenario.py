"""A network of nodes that mine, and what is measured while they do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from chain.gossip.address import Address
from chain.gossip.config import config_for
from chain.gossip.events import Discovered
from chain.primitives.numbers import Hash32
from chain.simulator.backend import Backend
from chain.simulator.light import LightNode
from chain.simulator.network import REGION_SHARES, Network
from chain.simulator.node import Place, SimNode
from chain.simulator.rules import SIMULATION
from chain.simulator.universe import Universe
from chain.simulator.world import World

PORT: Final = 9444
NODES_MAX: Final = 1024
SEEDS_PER_NODE: Final = 16  # addresses that each node starts with
START_SPREAD_S: Final = 10.0
MINER_SCRIPT: Final = b"\x00\x14" + bytes(20)  # P2WPKH of nobody


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How the network looks."""

    nodes: int
    seed: int
    nat_share: float = 0.6
    loss: float = 0.001
    encodes: bool = False  # whether each message becomes bytes on its way
    skew_s: int = 0  # clocks are off by up to this


@dataclass(frozen=True, slots=True)
class Mined:
    """A block, and when (world's microseconds) which node had it as its tip's ancestor."""

    block_id: Hash32
    found_us: int
    reached_us: dict[int, int]


class Scenario:
    """Nodes on a network, started; mines blocks and watches them spread."""

    def __init__(self, shape: Shape, new_backend: Callable[[], Backend] | None = None) -> None:
        """`new_backend` makes each node's ledger and pool; default: light ones that share."""
        if not 2 <= shape.nodes <= NODES_MAX:
            raise ValueError(f"between 2 and {NODES_MAX} nodes, not {shape.nodes}")
        self.world = World(shape.seed)
        self.network = Network(self.world, loss=shape.loss, encodes=shape.encodes)
        self.mined: list[Mined] = []
        universe = Universe(SIMULATION)
        make = new_backend or (lambda: LightNode(universe))
        public = max(1, round(shape.nodes * (1 - shape.nat_share)))
        self.nodes = [self._node(shape, number, public, make()) for number in range(shape.nodes)]
        addresses = [node.listen for node in self.nodes if node.listen is not None]
        for node in self.nodes:
            self._start(node, addresses)

    def close(self) -> None:
        """Close all ledgers."""
        for node in self.nodes:
            node.backend.close()

    def settle(self, duration_s: float = 120.0) -> None:
        """Let the nodes find each other."""
        self.world.run(duration_s)

    def mine(self, node: SimNode) -> Mined:
        """Have a node find a block now; its spread is watched from here on."""
        block = node.mine(MINER_SCRIPT)
        mined = Mined(block.id, self.world.time_us, {node.number: self.world.time_us})
        self.mined.append(mined)
        return mined

    def mine_steadily(self, blocks: int, interval_s: float) -> None:
        """Find blocks as miners of unequal power do, and let the last one spread."""
        powers = list(accumulate(1 / rank for rank in range(1, len(self.nodes) + 1)))
        order = list(self.nodes)
        self.world.random.shuffle(order)
        for _ in range(blocks):
            self.run_watching(self.world.random.expovariate(1 / interval_s))
            point = self.world.random.uniform(0, powers[-1])
            rank = next(at for at, power in enumerate(powers) if point <= power)
            self.mine(order[rank])
        self.run_watching(interval_s)

    def run_watching(self, duration_s: float) -> None:
        """Let time pass, and note which blocks reach whom when."""
        end_us = self.world.time_us + int(duration_s * 1e6)
        tips = [node.backend.tip for node in self.nodes]

        def watch() -> bool:
            for node in self.nodes:
                if node.backend.tip is not tips[node.number]:
                    tips[node.number] = node.backend.tip
                    self._reached(node)
            return False

        self.world.run((end_us - self.world.time_us) / 1e6, watch)

    def is_converged(self, among: Sequence[SimNode] | None = None) -> bool:
        """Tell whether all nodes have one tip."""
        nodes = among or self.nodes
        return len({node.backend.tip.id for node in nodes}) == 1

    def run_until_converged(self, timeout_s: float, among: Sequence[SimNode] | None = None) -> bool:
        """Let time pass until all nodes have one tip; tell whether they came to."""
        if self.is_converged(among):
            return True
        return self.world.run(timeout_s, lambda: self.is_converged(among))

    def _reached(self, node: SimNode) -> None:
        entry = node.backend.tip
        for mined in reversed(self.mined[-20:]):
            known = node.backend.chain.get(mined.block_id)
            if known is not None and known.is_ancestor_of(entry):
                mined.reached_us.setdefault(node.number, self.world.time_us)

    def _node(self, shape: Shape, number: int, public: int, backend: Backend) -> SimNode:
        ip = bytes([20 + number // 256, number % 256, 0, 1])  # each in a group of its own
        listen = Address(ip, PORT) if number < public else None
        config = config_for(SIMULATION, agent=f"/simulated:{number}/", listen=listen)
        region = self.world.random.choices(range(len(REGION_SHARES)), REGION_SHARES)[0]
        offset_s = round(self.world.random.uniform(-shape.skew_s, shape.skew_s))
        place = Place(number=number, region=region, ip=ip, clock_offset_s=offset_s)
        return SimNode(self.network, backend, config, place)

    def _start(self, node: SimNode, addresses: list[Address]) -> None:
        others = [address for address in addresses if address != node.listen]
        known = self.world.random.sample(others, min(SEEDS_PER_NODE, len(others)))

        def start() -> None:
            node.start()
            node.handle(Discovered(tuple(known)))

        self.world.after(int(self.world.random.uniform(0, START_SPREAD_S) * 1e6), start)
