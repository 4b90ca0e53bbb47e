"""e-x (ElectrumX), run unmodified against a node, and the calls that its clients make."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any, Self

from tests.api.foreign import PYTHON, rpc_port, start, stop
from tests.api.harness import PASSWORD, Running
from tests.patience import PATIENCE_S

POLL_MS = "100"  # how often it asks the node


def free_port() -> int:
    """Return a port of 127.0.0.1 that was free just now."""
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port: int = chosen.getsockname()[1]
        return port


def script_hash(script: bytes) -> str:
    """Return the name of an output script in Electrum's protocol: SHA-256 in reversed hex."""
    return sha256(script).digest()[::-1].hex()


@asynccontextmanager
async def electrum_server(node: Running, folder: Path) -> AsyncIterator[int]:
    """Run e-x against a node until the block ends; yield its port once it listens."""
    database = folder / "electrumx"
    database.mkdir()
    port = free_port()
    async with rpc_port(node) as rpc:
        settings = {
            "DB_DIRECTORY": str(database),
            "DB_ENGINE": "leveldb",
            "DAEMON_URL": f"http://__cookie__:{PASSWORD}@127.0.0.1:{rpc}/",
            "COIN": "Bitcoin",
            "NET": "regtest",
            "SERVICES": f"tcp://127.0.0.1:{port}",
            "PEER_DISCOVERY": "off",
            "PEER_ANNOUNCE": "",
            "BLACKLIST_URL": "",
            "ALLOW_ROOT": "1",
            "CACHE_MB": "20",
            "COST_SOFT_LIMIT": "0",
            "COST_HARD_LIMIT": "0",
            "DAEMON_POLL_INTERVAL_BLOCKS": POLL_MS,
            "DAEMON_POLL_INTERVAL_MEMPOOL": POLL_MS,
        }
        server = await start(folder, PYTHON.with_name("electrumx_server"), settings=settings)
        lines: list[str] = []
        try:
            async with asyncio.timeout(PATIENCE_S):
                async for line in server.stdout:
                    lines.append(line.decode())
                    if "TCP server listening" in lines[-1]:
                        break
                else:
                    raise AssertionError("".join(lines))
            reading = asyncio.create_task(server.stdout.read())
            yield port
        finally:
            await stop(server)
        log = (await reading).decode()
        assert "Traceback" not in log, log


@dataclass
class ElectrumSession:
    """A connection of Electrum's protocol: JSON-RPC 2.0, one message per line."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    notes: list[dict] = field(default_factory=list)
    ids: count = field(default_factory=count)

    @classmethod
    async def open(cls, port: int, version: str) -> Self:
        session = cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 24))
        assert (await session.call("server.version", "test", version))[1] == version
        return session

    async def call(self, method: str, *params: Any) -> Any:
        """Return a result; raise AssertionError for an error."""
        told = await self.answer(method, *params)
        assert "error" not in told, told
        return told["result"]

    async def answer(self, method: str, *params: Any) -> dict:
        number = next(self.ids)
        request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        self.writer.write(json.dumps(request).encode() + b"\n")
        while True:
            message = json.loads(await asyncio.wait_for(self.reader.readline(), PATIENCE_S))
            if message.get("id") == number:
                return dict(message)
            self.notes.append(message)

    async def note(self, method: str) -> list:
        """Return the parameters of the next notification of a method."""
        while True:
            for message in self.notes:
                if message["method"] == method:
                    self.notes.remove(message)
                    return list(message["params"])
            line = await asyncio.wait_for(self.reader.readline(), PATIENCE_S)
            self.notes.append(json.loads(line))

    def close(self) -> None:
        self.writer.close()
