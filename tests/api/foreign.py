"""Programs of other projects, run unmodified against a node that listens on 127.0.0.1.

scripts/foreign_clients installs them into .foreign; the tests of missing ones are skipped.
"""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from chain.consensus.params import REGTEST
from chain.primitives.address import script_address
from chain.primitives.numbers import id_text
from chain.service.api_process import API_LIMITS
from chain.service.http.listener import Listener
from tests.api.harness import OTHER, Running, payment

FOREIGN = Path(__file__).resolve().parents[2] / ".foreign"
PYTHON = FOREIGN / "venv" / "bin" / "python"
CLIENTS = Path(__file__).parent / "clients"
ADDRESS = script_address(OTHER.script, REGTEST.address_prefixes)
MISSING = "scripts/foreign_clients was not run"


def needs_module(name: str) -> pytest.MarkDecorator:
    """Skip a test unless .foreign's Python has a module."""
    found = any((FOREIGN / "venv").glob(f"lib/python*/site-packages/{name}"))
    return pytest.mark.skipif(not found, reason=f"{MISSING}: no {name}")


def needs_npm(package: str) -> pytest.MarkDecorator:
    """Skip a test unless there is node and a package of npm."""
    found = shutil.which("node") and (FOREIGN / "node_modules" / package).exists()
    return pytest.mark.skipif(not found, reason=f"{MISSING}, or there is no node: no {package}")


def needs_program(*names: str) -> pytest.MarkDecorator:
    """Skip a test unless one of these programs is installed."""
    found = any(map(shutil.which, names))
    return pytest.mark.skipif(not found, reason=f"there is no {names[0]} here")


async def start(
    folder: Path, *command: object, settings: dict[str, str] | None = None
) -> asyncio.subprocess.Process:
    """Start a client whose home is `folder`, with more environment variables in `settings`."""
    environment = {"HOME": str(folder), "PATH": os.environ["PATH"]}
    environment["NODE_PATH"] = str(FOREIGN / "node_modules")
    pipe = asyncio.subprocess.PIPE
    words = [str(word) for word in command]
    return await asyncio.create_subprocess_exec(
        *words, stdout=pipe, env=environment | (settings or {})
    )


async def stop(process: asyncio.subprocess.Process) -> None:
    """End a process that was started here, if it still runs."""
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
    await process.wait()


async def seen_by(folder: Path, *command: object) -> dict:
    """Return what a client prints."""
    process = await start(folder, *command)
    output, _ = await process.communicate()
    assert process.returncode == 0, output
    return json.loads(output.splitlines()[-1])


async def grow(node: Running) -> tuple[str, str]:
    """Make 102 blocks, the last with a payment to ADDRESS; return its id, and another payment."""
    await node.grow(101)
    paid = payment(node, 1)
    await node.mine([paid], fees=1000)
    return id_text(paid.txid), payment(node, 2).raw.hex()


@asynccontextmanager
async def rpc_port(node: Running) -> AsyncIterator[int]:
    """Serve the node's API through a node's own listener; yield the port."""
    listener = Listener(node.app, API_LIMITS)
    await listener.start("127.0.0.1", 0)
    try:
        yield listener.port
    finally:
        node.context.end_streams()
        await listener.stop()
