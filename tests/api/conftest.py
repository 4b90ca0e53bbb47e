"""The fixtures of the API's tests: each test runs on an event loop of its own."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.api.harness import Running, running
from tests.api.reading import reading, taking

Scenario = Callable[[Running], Awaitable[None]]


@pytest.fixture
def on_node(tmp_path: Path):
    """Run a coroutine function with a fresh regtest node."""

    def run(scenario: Scenario, **how) -> None:
        async def main() -> None:
            async with running(tmp_path, **how) as node:
                await scenario(node)

        asyncio.run(main())

    return run


@pytest.fixture
def on_reader(on_node, tmp_path):
    """Run a coroutine function with a node, and a reader of its database."""

    def run(scenario, **how):
        async def main(node):
            await node.grow(102)
            async with taking(node, tmp_path), reading(node, tmp_path) as reader:
                await scenario(node, reader)

        on_node(main, **how)

    return run
