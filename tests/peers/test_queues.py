"""The queues around the core: urgency, fairness, limits; and how often one address may ask."""

import asyncio
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.gossip.actions import Priority
from chain.gossip.events import Closed, Frames, LinkId, Tick
from chain.gossip.wire.messages import BlockMessage, Ping
from chain.service.peers.inbox import (
    EVENT_BYTES_MIN,
    LINK_BYTES_MAX,
    RUN_BYTES_MAX,
    Inbox,
    TrafficTotals,
    split_frames,
)
from chain.service.peers.outbox import PROGRESS_BYTES, Backlog, Outbox
from chain.service.peers.rates import ADDRESSES_MAX, RateLimit

ONE, TWO = LinkId(1), LinkId(2)


def outbox() -> tuple[Outbox, list[int]]:
    reports: list[int] = []
    return Outbox(Backlog(lambda queued, _: reports.append(queued), TrafficTotals())), reports


def frames(link: LinkId, nonce: int, size: int = 10) -> Frames:
    return Frames(link, (Ping(nonce),), size)


def test_the_most_urgent_lane_is_taken_first() -> None:
    async def body() -> None:
        box, _ = outbox()
        for lane in reversed(Priority):
            box.put(lane.name.encode() + b" ", lane)
        assert await box.take(1000) == b"BLOCK CONTROL TRANSACTION ADDRESS "

    asyncio.run(body())


def test_what_is_not_urgent_waits_for_company_and_a_block_ends_the_wait() -> None:
    async def body() -> None:
        box, _ = outbox()
        box.put(b"inv_ ", Priority.TRANSACTION)
        taking = asyncio.create_task(box.take(1000))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not taking.done()
        box.put(b"inv_ ", Priority.TRANSACTION)
        box.put(b"block ", Priority.BLOCK)
        assert await taking == b"block inv_ inv_ "

    asyncio.run(body())


def test_what_was_written_is_told_beside_what_waits() -> None:
    reports: list[tuple[int, int]] = []
    tally = TrafficTotals(sent_bytes=1)
    backlog = Backlog(lambda *counts: reports.append(counts), tally)
    frame = (PROGRESS_BYTES - 5).to_bytes(4, "little") + b"\x15" + bytes(PROGRESS_BYTES - 5)
    backlog.add(PROGRESS_BYTES)
    backlog.wrote([frame])
    backlog.add(PROGRESS_BYTES)
    assert reports == [(PROGRESS_BYTES, 0), (0, PROGRESS_BYTES), (PROGRESS_BYTES, PROGRESS_BYTES)]
    backlog.drop(PROGRESS_BYTES)
    assert reports[3:] == [(0, PROGRESS_BYTES)], "what was dropped was not written"
    assert tally.sent_bytes == 1 + PROGRESS_BYTES
    assert backlog.by_type.sent == {0x15: PROGRESS_BYTES}
    assert backlog.wrote_at_once([frame, frame]) == 2 * PROGRESS_BYTES
    assert reports[4:] == [], "what never waited changes no queue"
    assert tally.sent_bytes == 1 + 3 * PROGRESS_BYTES == 1 + backlog.sent_bytes


def test_a_batch_ends_before_the_frame_that_does_not_fit() -> None:
    async def body() -> None:
        box, _ = outbox()
        for frame in (b"12345", b"67890", b"1" * 50):
            box.put(frame, Priority.BLOCK)
        assert await box.take(10) == b"1234567890"
        assert await box.take(10) == b"1" * 50, "one that never fits goes alone"

    asyncio.run(body())


def test_a_finished_outbox_gives_its_last_frame_and_nothing_else() -> None:
    async def body() -> None:
        box, _ = outbox()
        box.put(b"waits", Priority.CONTROL)
        box.finish(b"bye")
        box.put(b"late", Priority.BLOCK)
        assert await box.take(1000) == b"bye"
        assert await box.take(1000) == b""

    asyncio.run(body())


def test_a_backlog_tells_of_each_64_kib_and_of_nothing_left() -> None:
    async def body() -> None:
        box, reports = outbox()
        box.put(bytes(PROGRESS_BYTES - 5), Priority.BLOCK)
        assert reports == []
        box.put(b"12345", Priority.BLOCK)
        assert reports == [PROGRESS_BYTES]
        await box.take(1)
        assert reports == [PROGRESS_BYTES]
        await box.take(1)
        assert reports == [PROGRESS_BYTES, 0]

    asyncio.run(body())


def test_links_take_turns_behind_the_nodes_own_events() -> None:
    async def body() -> None:
        inbox = Inbox()
        inbox.open(ONE)
        inbox.open(TWO)
        for nonce in range(3):
            await inbox.deliver(ONE, frames(ONE, nonce), 10)
        await inbox.deliver(TWO, frames(TWO, 9), 10)
        inbox.post(Tick())
        taken = [inbox.take() for _ in range(6)]
        assert taken == [
            Tick(),
            frames(ONE, 0),
            frames(TWO, 9),
            frames(ONE, 1),
            frames(ONE, 2),
            None,
        ]

    asyncio.run(body())


def test_a_link_that_sends_faster_than_it_is_read_waits() -> None:
    async def body() -> None:
        inbox = Inbox()
        inbox.open(ONE)
        inbox.open(TWO)
        await inbox.deliver(ONE, frames(ONE, 1), LINK_BYTES_MAX)
        waiting = asyncio.create_task(inbox.deliver(ONE, frames(ONE, 2), 1))
        await inbox.deliver(TWO, frames(TWO, 3), 1)
        await asyncio.sleep(0)
        assert not waiting.done()
        assert inbox.take() == frames(ONE, 1)
        await waiting
        assert [inbox.take(), inbox.take()] == [frames(TWO, 3), frames(ONE, 2)]

    asyncio.run(body())


def test_a_dropped_link_frees_its_reader_and_says_nothing_more() -> None:
    async def body() -> None:
        inbox = Inbox()
        inbox.open(ONE)
        await inbox.deliver(ONE, frames(ONE, 1), LINK_BYTES_MAX)
        waiting = asyncio.create_task(inbox.deliver(ONE, frames(ONE, 2), 1))
        await asyncio.sleep(0)
        inbox.drop(ONE)
        await waiting
        inbox.end(ONE, Closed(ONE, "late"))
        assert inbox.take() is None

    asyncio.run(body())


def test_the_end_of_a_link_comes_behind_what_it_said() -> None:
    async def body() -> None:
        inbox = Inbox()
        inbox.open(ONE)
        await inbox.deliver(ONE, frames(ONE, 1), LINK_BYTES_MAX)
        inbox.end(ONE, Closed(ONE, "gone"))
        assert [inbox.take(), inbox.take()] == [frames(ONE, 1), Closed(ONE, "gone")]

    asyncio.run(body())


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(5, 200)), max_size=60), st.integers(1, 500)
)
def test_whatever_is_put_is_taken_once_and_in_order(puts: list[tuple[int, int]], size: int) -> None:
    async def body() -> None:
        box, reports = outbox()
        sent: dict[int, bytes] = dict.fromkeys(Priority, b"")
        for lane, length in puts:
            frame = bytes([lane]) * length
            box.put(frame, Priority(lane))
            sent[lane] += frame
        taken = b""
        while len(taken) < sum(map(len, sent.values())):
            taken += await box.take(size)
        assert taken == b"".join(sent[lane] for lane in Priority)
        assert reports in ([], [0]) or reports[-1] == 0

    asyncio.run(body())


@given(st.integers(0, 20), st.integers(0, 10_000))
def test_split_frames_lose_no_message_and_no_byte(count: int, size: int) -> None:
    messages = [Ping(nonce) for nonce in range(count)]
    events = split_frames(ONE, messages, size)
    assert [message for event in events for message in event.messages] == messages
    assert sum(event.size for event in events) == (size if messages else 0)


def test_blocks_in_a_row_come_to_the_core_together_and_other_messages_alone() -> None:
    blocks = [BlockMessage(bytes([n]) * 100) for n in range(4)]
    events = split_frames(ONE, [*blocks[:3], Ping(1), Ping(2), blocks[3]], 500)
    runs = [tuple(blocks[:3]), (Ping(1),), (Ping(2),), (blocks[3],)]
    assert [event.messages for event in events] == runs


@pytest.mark.parametrize(
    ("size", "together"), [(RUN_BYTES_MAX // 2, 2), (RUN_BYTES_MAX // 2 + 1, 1)]
)
def test_blocks_that_wait_are_one_event_with_those_behind_them_if_they_are_small(
    size: int, together: int
) -> None:
    inbox = Inbox()
    for link in (ONE, TWO):
        inbox.open(link)
    blocks = [BlockMessage(bytes([n]) * 100) for n in range(4)]

    async def body() -> None:
        for link, block in ((ONE, blocks[0]), (TWO, blocks[1]), (ONE, blocks[2])):
            await inbox.deliver(link, Frames(link, (block,), size), size)
        await inbox.deliver(ONE, Frames(ONE, (Ping(1),), 5), 5)
        await inbox.deliver(ONE, Frames(ONE, (blocks[3],), size), size)

    asyncio.run(body())
    taken = list(iter(inbox.take, None))
    of_one = [event for event in taken if isinstance(event, Frames) and event.link == ONE]
    messages = [message for event in of_one for message in event.messages]
    assert messages == [blocks[0], blocks[2], Ping(1), blocks[3]]
    assert [len(event.messages) for event in of_one][:2] == ([2, 1] if together == 2 else [1, 1])
    assert sum(event.size for event in of_one) == 3 * size + 5


def test_tiny_blocks_fill_the_inbox_whether_they_come_together_or_not() -> None:
    blocks = tuple(BlockMessage(bytes([n]) * 81) for n in range(100))

    async def taken(events: list[Frames]) -> int:
        inbox = Inbox()
        inbox.open(ONE)
        count = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                while True:
                    for event in events:
                        await inbox.deliver(ONE, event, event.size)
                        count += len(event.messages)
        return count

    apart = asyncio.run(taken([Frames(ONE, (block,), 86) for block in blocks]))
    together = asyncio.run(taken([Frames(ONE, blocks, 8600)]))
    assert apart <= together <= apart + len(blocks)


@pytest.mark.parametrize(
    "frames", [Frames(ONE, (Ping(1),), 5), Frames(ONE, (), 0)], ids=["tiny", "incomplete"]
)
def test_many_tiny_messages_fill_the_inbox_like_a_few_large_ones(frames: Frames) -> None:
    async def body() -> int:
        inbox = Inbox()
        inbox.open(ONE)
        taken = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                while True:
                    await inbox.deliver(ONE, frames, frames.size)
                    taken += 1
        return taken

    assert asyncio.run(body()) == LINK_BYTES_MAX // EVENT_BYTES_MIN


def test_an_address_may_ask_so_often_a_minute_and_others_are_not_counted() -> None:
    rate = RateLimit(6)
    assert [rate.allows("a", 0.0) for _ in range(7)] == [True] * 6 + [False]
    assert rate.allows("b", 0.0)
    assert not rate.allows("a", 9.9)
    assert rate.allows("a", 10.1)
    assert not rate.allows("a", 10.2)


def test_a_refused_ask_costs_nothing() -> None:
    rate = RateLimit(1)
    assert rate.allows("a", 0.0)
    for tenth in range(1, 590):
        assert not rate.allows("a", tenth / 10)
    assert rate.allows("a", 60.1)


def test_rates_forget_who_asked_least_recently() -> None:
    rate = RateLimit(1)
    assert rate.allows("first", 0.0)
    for number in range(ADDRESSES_MAX):
        assert rate.allows(str(number), 0.0)
    assert rate.allows("first", 0.0), "it was forgotten, and starts anew"
    assert not rate.allows(str(ADDRESSES_MAX - 1), 0.0)
