"""A real node behind a real API, in a folder of the test's own."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from chain.consensus.params import REGTEST, Params
from chain.ledger.db.node_state import Version
from chain.ledger.errors import LedgerError
from chain.ledger.ledger import Ledger
from chain.ledger.reader import Reader, open_reader
from chain.node.node import Node
from chain.node.policy import Policy
from chain.primitives.block import Block
from chain.primitives.transaction import Transaction, TxOut
from chain.service.api.access.auth import Logins
from chain.service.api.app import bind_context, create_api
from chain.service.api.context import ApiContext
from chain.service.api.events import Events
from chain.service.api.ports import NoHost, NoPeers
from chain.service.api.state.live_state import LiveNode, LiveState
from chain.service.ledger_thread import LedgerThread
from chain.service.peers.peer_status import PeerStatus
from chain.service.readers.own_reads import OwnReads
from tests.builders import ChainBuilder, Key, pay, spend

PORT = 39445
BASE = f"http://127.0.0.1:{PORT}"
MANY = 20
OTHER = Key(2)
UNKNOWN = "00" * 31 + "01"  # an id that nothing has
PASSWORD = "0" * 64
NOW = 1_800_000_000


PEER = PeerStatus(
    id=3,
    address="192.0.2.1:9444",
    is_inbound=True,
    agent="/groat:0.1.0/",
    connected_at=NOW - 5,
    height=7,
    latency_s=0.25,
    start_height=5,
    sent={"ping": 4, "block": 6},
    received={"pong": 20},
)


class RecordingPeers(NoPeers):
    """A peer side without a network: its peers are the test's, and it records broadcasts."""

    def __init__(self) -> None:
        super().__init__()
        self.now: list[PeerStatus] = []
        self.blocks: list[Block] = []
        self.transactions: list[Transaction] = []

    def connected(self) -> Sequence[PeerStatus]:
        return self.now

    def broadcast_tx(self, transaction: Transaction) -> None:
        self.transactions.append(transaction)

    def broadcast_block(self, block: Block) -> None:
        self.blocks.append(block)


class RecordingHost(NoHost):
    """A host that keeps running, and records what it was requested to do."""

    def __init__(self) -> None:
        self.failures: list[LedgerError] = []
        self.stops: list[bool] = []

    def ledger_failed(self, error: LedgerError) -> None:
        self.failures.append(error)

    def stop(self) -> None:
        self.stops.append(True)


@dataclass
class Running:
    """A node, its API and a client of it; blocks and transactions go in as if by gossip."""

    context: ApiContext
    app: FastAPI
    client: httpx.AsyncClient
    chain: ChainBuilder
    ledger: Ledger
    recorded: RecordingPeers
    host: RecordingHost

    @property
    def peers(self) -> list[PeerStatus]:
        """Its peers, a list that the test may change."""
        return self.recorded.now

    @property
    def sent_blocks(self) -> list[Block]:
        return self.recorded.blocks

    @property
    def sent_txs(self) -> list[Transaction]:
        return self.recorded.transactions

    @property
    def stopped(self) -> list[bool]:
        return self.host.stops

    async def connect(self, *blocks: Block) -> None:
        """Add blocks; many of them with one commit, which is faster if nobody reads meanwhile."""

        def add() -> None:
            if len(blocks) > MANY:
                assert not any(self.context.node.submit_blocks(blocks, NOW))
                return
            for block in blocks:
                self.context.node.submit_block(block, NOW)

        await self.context.call(add)
        await self.context.wait_for_commit()

    async def grow(self, count: int, **how: Any) -> list[Block]:
        blocks = self.chain.grow(count, **how)
        await self.connect(*blocks)
        return blocks

    async def mine(self, transactions: Sequence[Transaction] = (), **how: Any) -> Block:
        block = self.chain.add(transactions, **how)
        await self.connect(block)
        return block

    async def pool(self, tx: Transaction) -> None:
        await self.context.call(lambda: self.context.node.submit_transaction(tx, NOW))
        await self.context.wait_for_commit()

    async def get(self, path: str, **how: Any) -> httpx.Response:
        return await self.client.get(path, **how)

    async def json(self, path: str) -> Any:
        reply = await self.client.get(path)
        assert reply.status_code == 200, reply.text
        return reply.json()

    async def text(self, path: str) -> str:
        reply = await self.client.get(path)
        assert reply.status_code == 200, reply.text
        return reply.text

    async def post_rpc(self, body: Any, path: str = "/", **how: Any) -> httpx.Response:
        headers = {"Authorization": basic("__cookie__", PASSWORD)} | how.pop("headers", {})
        return await self.client.post(path, json=body, headers=headers, **how)

    async def rpc(self, method: str, *params: Any) -> Any:
        reply = await self.post_rpc({"id": 1, "method": method, "params": list(params)})
        assert reply.status_code == 200, reply.text
        return reply.json()["result"]

    async def rpc_error(self, method: str, *params: Any) -> dict[str, Any]:
        reply = await self.post_rpc({"id": 1, "method": method, "params": list(params)})
        assert reply.status_code in {404, 500}, reply.text
        error: dict[str, Any] = reply.json()["error"]
        return error


async def until(holds: Callable[[], object]) -> None:
    """Wait until a condition is true, ten seconds at most."""
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never held")


def listeners(node: Running) -> int:
    """Return how many listen to the node's events: clients of the stream, and calls that wait."""
    return node.context.events.count + node.context.node_events.count


async def wait_for_listeners(node: Running, count: int) -> None:
    """Wait until the node's events have this number of listeners."""
    await until(lambda: listeners(node) >= count)


def payment(
    node: Running, height: int = 1, *, fee: int = 1000, extra: Sequence[TxOut] = ()
) -> Transaction:
    """Return a transaction that spends the coinbase coin of `height` to OTHER."""
    point, coin = node.chain.coinbase_coin(height)
    return spend([(point, coin)], [pay(coin.value - fee, OTHER), *extra])


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@cache
def _free_apps(_version: str, _hosts: tuple[str, ...]) -> list[FastAPI]:
    """Applications of earlier tests, reused because making one takes longer than most tests."""
    return []


def take_app(context: ApiContext) -> FastAPI:
    """Return an application that serves only this node while it is in use."""
    free = _free_apps(context.version, context.allowed_hosts)
    if not free:
        return create_api(context)
    app = free.pop()
    bind_context(app, context)
    return app


def committed(node: Node, ledger: Ledger) -> Version:
    """Commit what is not committed; return the version that has it. On the ledger thread."""
    if node.unsaved or not ledger.version.sequence:
        node.save_pool(NOW, is_durable=False)
    return ledger.version


@asynccontextmanager
async def running(
    folder: Path,
    *,
    params: Params = REGTEST,
    policy: Policy | None = None,
    clock: Callable[[], int] = lambda: NOW,
    wrap_call: Callable[[Any], Any] = lambda call: call,
    peers: Any = None,
    host: Any = None,
    **context: Any,
) -> AsyncIterator[Running]:
    url = f"sqlite:///{folder / 'ledger.sqlite'}"
    thread = LedgerThread()
    ledger = await thread.call(lambda: Ledger(url, params, verify_threads=1))
    node = await thread.call(lambda: Node(ledger, policy or Policy()))
    reader: Reader = open_reader(url)
    events = Events(node)
    peers, host = peers or RecordingPeers(), host or RecordingHost()
    live = LiveNode(
        node=node,
        events=events,
        tree=ledger.tree,
        reader=reader,
        call=wrap_call(thread.call),
        call_when_idle=wrap_call(thread.call_when_idle),
    )
    api = ApiContext(
        params=params,
        state=LiveState(live),
        live=live,
        clock=clock,
        logins=Logins(PASSWORD),
        version="0.1.0",
        started_at=NOW - 60,
        events=events,
        peers=peers,
        host=host,
        **context,
    )
    reads = OwnReads(api, lambda: thread.call(lambda: committed(node, ledger)))
    api = reads.context
    following = asyncio.create_task(reads.following.run())
    app, chain = take_app(api), ChainBuilder(params)
    transport = httpx.ASGITransport(app=app)
    try:
        async with (
            reads.opened(),
            httpx.AsyncClient(transport=transport, base_url=BASE) as client,
        ):
            yield Running(api, app, client, chain, ledger, peers, host)
    finally:
        following.cancel()
        await asyncio.wait({following})
        api.end_streams()
        reader.close()
        await thread.call(ledger.close)
        await asyncio.to_thread(thread.stop)
        bind_context(app, None)  # type: ignore[arg-type] # no request may come any more
        _free_apps(api.version, api.allowed_hosts).append(app)


@asynccontextmanager
async def listening(node: Running) -> AsyncIterator[str]:
    """Serve the node's API on a free port of 127.0.0.1; yield its URL."""
    config = uvicorn.Config(node.app, host="127.0.0.1", port=0, log_level="warning", workers=1)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    for _ in range(1000):
        if server.started:
            break
        await asyncio.sleep(0.01)
    host, port = server.servers[0].sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}"
    finally:
        node.context.end_streams()
        server.should_exit = True
        await serving
