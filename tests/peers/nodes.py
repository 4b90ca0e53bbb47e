"""Whole nodes in one process: ledger, mempool, gossip core and peer service on 127.0.0.1."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from chain.consensus.params import REGTEST, Params
from chain.gossip.config import config_for
from chain.gossip.seeds import Seed
from chain.gossip.wire.address import Address, parse_address
from chain.ledger.ledger import Ledger
from chain.node.ledger_requests import LedgerRequestHandler, NodeChain, NodePool
from chain.node.node import Node
from chain.node.policy import Policy
from chain.primitives.block import Block
from chain.primitives.transaction import Transaction
from chain.service.clock import Clock
from chain.service.ledger_thread import LedgerThread
from chain.service.peers.driver import LedgerCall
from chain.service.peers.service import PeerNode, PeerService, PeerSettings
from chain.settings import Endpoint
from tests.builders import ChainBuilder
from tests.patience import PATIENCE_S

NOW = 1_900_000_000  # far enough ahead that no header of the tests is in the future
LOCALHOST = "127.0.0.1"


@dataclass
class Running:
    """A node that serves peers."""

    core: Node
    ledger: Ledger
    thread: LedgerThread
    service: PeerService
    failures: list[BaseException]
    clock: Clock

    @property
    def address(self) -> Address:
        return parse_address(LOCALHOST, self.service.endpoint.port)

    @property
    def height(self) -> int:
        return self.core.view.tip.height

    async def take(self, *blocks: Block) -> None:
        """Put blocks into the ledger without telling a peer."""
        refusals = await self.thread.call(lambda: self.core.submit_blocks(blocks, NOW))
        assert not any(refusals)

    async def mine(self, *blocks: Block) -> None:
        """Put blocks into the ledger and announce each, as the miner does."""
        for block in blocks:
            await self.take(block)
            self.service.broadcast_block(block)

    async def pay(self, transaction: Transaction) -> None:
        """Put a transaction into the mempool and announce it, as the wallet's API does."""
        await self.thread.call(lambda: self.core.submit_transaction(transaction, NOW))
        self.service.broadcast_tx(transaction)


@asynccontextmanager
async def running(
    folder: Path,
    *,
    params: Params = REGTEST,
    peers: tuple[Address | Endpoint, ...] = (),
    seeds: tuple[Seed, ...] = (),
    port: int = 0,
    call: Callable[[LedgerThread], LedgerCall] = lambda thread: thread.call,
    **settings: object,
) -> AsyncIterator[Running]:
    """Run a node whose data are in `folder`, linked to `peers`; with `seeds` it dials others."""
    folder.mkdir(exist_ok=True)  # noqa: ASYNC240 - before anything runs
    failures: list[BaseException] = []
    thread = LedgerThread(failures.append)
    url = f"sqlite:///{folder / 'ledger.sqlite'}"
    ledger = await thread.call(lambda: Ledger(url, params, verify_threads=1))
    core = await thread.call(lambda: Node(ledger, Policy()))
    chain = NodeChain(core, ledger.tree)
    clock = Clock()
    service = PeerService(
        PeerSettings(
            config=replace(
                config_for(params, agent="groat:test", auto_dial=bool(seeds)), seeds=seeds
            ),
            endpoint=Endpoint(LOCALHOST, port),
            folder=folder,
            peers=tuple(Endpoint(peer.host, peer.port) for peer in peers),
            **settings,
        ),
        PeerNode(
            chain, NodePool(core), LedgerRequestHandler(core).handle_next, call(thread), clock
        ),
    )
    try:
        await service.start()
        yield Running(core, ledger, thread, service, failures, clock)
    finally:
        await service.stop()
        await thread.call(ledger.close)
        await asyncio.to_thread(thread.stop)


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition that other tasks bring about; fail if they take too long."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110 - of many tasks, none of which is a test's
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"not within {PATIENCE_S} s: {what}") from None


async def linked(*nodes: Running, count: int = 1) -> None:
    """Wait until each node has so many links."""
    for node in nodes:
        await until(lambda node=node: len(node.service.connected()) >= count, f"{count} links")


def chain_of(count: int, *, extra: bytes = b"") -> ChainBuilder:
    """Return a chain of so many empty blocks."""
    builder = ChainBuilder()
    builder.grow(count, extra=extra)
    return builder
