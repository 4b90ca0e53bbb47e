"""The fixtures of the API's tests: each test runs on an event loop of its own."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.api.harness import Running, running

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
