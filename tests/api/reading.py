"""A reader beside a node of the harness: the same database, and hand-ons over a Unix socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from chain.ledger.reader import open_reader
from chain.service.api.app import bind_context, create_api
from chain.service.api.context import ApiContext
from chain.service.api.ports import NoHost
from chain.service.hand_on import NodeWay, taking_hand_ons
from chain.service.readers.follower import Follower
from chain.service.readers.following import Following
from chain.service.readers.journal_events import JournalEvents
from chain.service.readers.serve import ReaderMiner, ReaderPeers
from tests.api.harness import BASE, NOW, PASSWORD, Running, basic
from tests.patience import PATIENCE_S

LISTENERS = 3
_APPS: dict[str, list[FastAPI]] = {"free": []}  # making one takes longer than most tests


class ReadingHost(NoHost):
    """A reader that goes on whatever happens."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower

    def node_age_s(self) -> float:
        return self._follower.age_s


@dataclass
class Reading:
    """A reader, and a client of it."""

    context: ApiContext
    app: FastAPI
    client: httpx.AsyncClient
    follower: Follower
    following: Following
    node: Running

    async def json(self, path: str, **how: Any) -> Any:
        reply = await self.client.get(path, **how)
        assert reply.status_code == 200, reply.text
        return reply.json()

    async def post_rpc(self, body: Any, **how: Any) -> httpx.Response:
        headers = {"Authorization": basic("__cookie__", PASSWORD)} | how.pop("headers", {})
        return await self.client.post("/", json=body, headers=headers, **how)

    async def rpc(self, method: str, *params: Any) -> Any:
        reply = await self.post_rpc({"id": 1, "method": method, "params": list(params)})
        assert reply.status_code == 200, reply.text
        return reply.json()["result"]

    async def catch_up(self) -> None:
        """Commit what the node has, and wait until the reader has it."""
        version = await committed(self.node)
        assert await self.following.wait_for(version, PATIENCE_S)


async def committed(node: Running):
    def commit():
        if node.context.node.unsaved:
            node.context.node.save_pool(NOW, is_durable=False)
        return node.ledger.version

    return await node.context.call(commit)


@asynccontextmanager
async def taking(node: Running, folder: Path) -> AsyncIterator[None]:
    """Take hand-ons at the node."""
    async with taking_hand_ons(node.app, folder, lambda: committed(node)):
        yield


@asynccontextmanager
async def reading(node: Running, folder: Path) -> AsyncIterator[Reading]:
    """Follow the node's database in `folder`."""
    await committed(node)
    async with AsyncExitStack() as stack:
        reader = open_reader(folder / "ledger.sqlite")
        stack.callback(reader.close)
        # Its clock stands: no heartbeat follows, and on a busy machine the node would be silent.
        follower = Follower(reader, node.context.params, lambda: 0.0)
        await asyncio.to_thread(follower.open)
        following, events = Following(follower), JournalEvents(follower, LISTENERS)
        await asyncio.to_thread(events.publish)
        following.listeners.append(events.publish)
        way = NodeWay(folder)
        stack.push_async_callback(way.close)
        context = ApiContext(
            params=node.context.params,
            state=follower,
            clock=lambda: NOW,
            logins=node.context.logins,
            version=node.context.version,
            started_at=node.context.started_at,
            events=events,
            peers=ReaderPeers(follower),
            miner=ReaderMiner(follower),
            host=ReadingHost(follower),
            wait_for_version=following.wait_for,
            hand_on=way,
        )
        app = _APPS["free"].pop() if _APPS["free"] else create_api(context)
        bind_context(app, context)
        task = asyncio.create_task(following.run())
        transport = httpx.ASGITransport(app=app)
        try:
            async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
                yield Reading(context, app, client, follower, following, node)
        finally:
            events.close()
            task.cancel()
            await asyncio.wait({task})
            bind_context(app, None)  # type: ignore[arg-type] # no request may come any more
            _APPS["free"].append(app)
