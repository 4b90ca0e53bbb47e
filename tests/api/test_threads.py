"""Worker threads for reads: a request waits for one, but not for ever."""

import threading

import anyio
import pytest
from anyio import to_thread

from chain.service.api import threads
from chain.service.api.state.port import SnapshotUnavailableError
from chain.service.api.threads import on_thread


def run(main):
    async def limited():
        to_thread.current_default_thread_limiter().total_tokens = 1
        await main()

    anyio.run(limited)


def test_a_read_waits_for_a_thread_in_bounds(monkeypatch):
    async def main():
        released = threading.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(on_thread, released.wait)
            await anyio.wait_all_tasks_blocked()
            monkeypatch.setattr(threads, "THREAD_WAIT_S_MAX", 0.02)
            with pytest.raises(SnapshotUnavailableError, match="too many reads"):
                await on_thread(lambda: 1)
            monkeypatch.setattr(threads, "THREAD_WAIT_S_MAX", 10)
            group.start_soon(on_thread, lambda: released.is_set() or pytest.fail("too early"))
            released.set()
        assert await on_thread(lambda: 2) == 2

    run(main)


def test_a_thread_is_free_again_after_an_error():
    async def main():
        for _ in range(2):
            with pytest.raises(KeyError):
                await on_thread(lambda: {}["none"])
        assert await on_thread(lambda: 3) == 3

    run(main)
