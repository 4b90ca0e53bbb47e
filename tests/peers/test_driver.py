"""The driver's queue before the ledger: blocks in a row share calls, and headers go first."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from chain.gossip.actions import Action, ReadHeaders, ValidateBlocks, ValidateHeaders
from chain.gossip.events import Event, Now, Tick, Token
from chain.gossip.wire.messages import BlockMessage
from chain.node.ledger_requests import LedgerReply, LedgerRequest
from chain.primitives.numbers import NULL_HASH
from chain.service.clock import Clock
from chain.service.peers.driver import BLOCK_CALLS, ActionHandlers, GossipDriver
from chain.service.peers.inbox import Inbox

BLOCK = BlockMessage(bytes(100))


class Scripted:
    """A core that wants what the test wants, once."""

    def __init__(self, actions: list[Action]) -> None:
        self._actions = actions

    def handle(self, _event: Event, _now: Now) -> list[Action]:
        actions, self._actions = self._actions, []
        return actions

    def next_deadline(self) -> None:
        return None


def answered(actions: list[Action], together: int) -> list[list[LedgerRequest]]:
    """Return which requests each call to the ledger answered, in order."""
    calls: list[list[LedgerRequest]] = []

    def answer(requests: deque[LedgerRequest], _now: int) -> list[LedgerReply]:
        taken = [requests.popleft() for _ in range(min(together, len(requests)))]
        calls.append(taken)
        return []

    async def call(function: Callable[[], list[LedgerReply]]) -> list[LedgerReply]:
        await asyncio.sleep(0)
        return function()

    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            driver = GossipDriver(Scripted(actions), Inbox(), handlers(tasks, answer, call))
            driver.handle(Tick())

    asyncio.run(main())
    return calls


def handlers(
    tasks: asyncio.TaskGroup,
    answer: Callable[[deque[LedgerRequest], int], list[LedgerReply]],
    call: Callable[[Callable[[], list[LedgerReply]]], Awaitable[list[LedgerReply]]],
) -> ActionHandlers:
    unused = None  # nothing else is done on behalf of these actions
    return ActionHandlers(unused, unused, unused, answer, call, unused, tasks, Clock())


def blocks(count: int) -> list[Action]:
    return [ValidateBlocks(Token(number), (BLOCK,)) for number in range(count)]


def test_blocks_in_a_row_share_calls() -> None:
    calls = answered(blocks(100), together=30)
    assert [request.token for taken in calls for request in taken] == list(range(100))
    assert len(calls) <= 4 + BLOCK_CALLS


def test_no_request_is_left_behind_when_calls_take_one_at_a_time() -> None:
    reads = [ReadHeaders(Token(100 + n), (), NULL_HASH, 1) for n in range(3)]
    actions = [*blocks(5), reads[0], *blocks(4), reads[1], reads[2]]
    assert [taken for call in answered(actions, together=1) for taken in call] == actions


def test_headers_do_not_wait_for_the_blocks_before_them() -> None:
    headers = [ValidateHeaders(Token(900 + number), ()) for number in range(2)]
    calls = answered([*blocks(50), *headers], together=10)
    order = [request for taken in calls for request in taken]
    assert order[:2] == headers
    assert order[2:] == blocks(50)
