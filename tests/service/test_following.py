"""The task that follows a ledger ends when it is cancelled, whatever happens at that instant."""

import asyncio

import pytest

from chain.service.readers.following import Following
from tests.patience import PATIENCE_S


class NeverChanging:
    """A follower of a ledger in which nothing happens."""

    version = None

    def listen(self) -> None:
        """Nothing is new."""


@pytest.mark.parametrize("turns", range(4))
def test_a_look_that_is_wanted_at_the_instant_of_the_end_does_not_prevent_it(turns):
    """Python 3.11's wait_for lost the cancellation: the node hung as it stopped."""

    async def scenario():
        loop, looked = asyncio.get_running_loop(), asyncio.Event()
        following = Following(NeverChanging(), poll_s=60)
        following.listeners.append(lambda: loop.call_soon_threadsafe(looked.set))
        task = asyncio.create_task(following.run())
        await looked.wait()
        await asyncio.sleep(0.01)  # it waits for the next look
        following.look_soon()
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=PATIENCE_S)
        assert done, "the cancellation was lost"

    asyncio.run(scenario())
