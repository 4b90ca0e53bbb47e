"""The stream of events of an API that only reads."""

import asyncio
import threading

import pytest

from chain.ledger.errors import SnapshotExpiredError
from chain.primitives.numbers import id_text
from chain.service.api.state.port import SnapshotUnavailableError
from chain.service.readers.journal_events import VERSIONS_AT_ONCE
from tests.api.harness import payment
from tests.api.reading import LISTENERS, committed
from tests.api.test_v1 import parsed

VERSION = "groat-version"


async def stream(reader, lines, headers=()):
    async def receive():
        await asyncio.Event().wait()

    async def send(message):
        for event in message.get("body", b"").decode().split("\n\n"):
            if event:
                lines.put_nowait(event)

    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1",
        "method": "GET", "scheme": "http", "path": "/api/v1/events", "raw_path": b"",
        "root_path": "", "query_string": b"", "headers": [(b"host", b"127.0.0.1:39445"), *headers],
        "server": ("127.0.0.1", 39445), "client": ("127.0.0.1", 1),
    }  # fmt: skip
    await reader.app(scope, receive, send)


def split_id(event):
    first, _, rest = event.partition("\n")
    return (first.removeprefix("id: "), rest) if first.startswith("id: ") else (None, event)


def test_every_block_that_came_or_went_is_an_event_and_the_stream_resumes(on_reader):
    async def scenario(node, reader):
        events = asyncio.Queue()
        reading_them = asyncio.create_task(stream(reader, events))
        assert parsed(await events.get())[0] == "tip"
        tx = payment(node)
        await node.pool(tx)
        await reader.catch_up()
        last_id, event = split_id(await events.get())
        assert parsed(event)[1]["txid"] == id_text(tx.txid)
        reading_them.cancel()
        old, side = node.chain.tip, node.chain.fork(1)
        new = side.grow(2, extra=b"side")
        await node.connect(*new)
        again = asyncio.Queue()
        resumed = asyncio.create_task(stream(reader, again, [(b"last-event-id", last_id.encode())]))
        assert parsed(await again.get())[0] == "tip"
        found = [split_id(await again.get()) for _ in range(3)]
        assert parsed(found[0][1]) == (
            "reorganisation",
            {"disconnected": [id_text(old.id)], "connected": [id_text(b.id) for b in new]},
        )
        heights = [parsed(event)[1]["height"] for _, event in found[1:]]
        assert heights == [102, 103]
        assert [bool(an_id) for an_id, _ in found] == [False, False, True], "whole versions only"
        await node.connect(*side.grow(1))
        an_id, event = split_id(await again.get())
        assert (an_id > last_id, parsed(event)[1]["height"]) == (True, 104)
        resumed.cancel()

    on_reader(scenario)


@pytest.mark.parametrize("is_known", [True, False])
def test_a_client_of_a_process_that_was_ahead_gets_no_event_again(on_reader, is_known):
    """Nor after a reset, which stands for all that came before."""

    async def scenario(node, reader):
        events = asyncio.Queue()
        with reader.context.events._publishing:  # this process is slow to publish
            await node.grow(2)
            last = str(await committed(node)) if is_known else f"{'0' * 48}.5"
            task = asyncio.create_task(stream(reader, events, [(b"last-event-id", last.encode())]))
            assert parsed(await events.get())[0] == "tip"
            if not is_known:
                assert parsed(split_id(await events.get())[1]) == ("reset", {})
        await node.mine()
        name, data = parsed(split_id(await events.get())[1])
        assert (name, data["height"]) == ("block", node.chain.tip.height)
        task.cancel()

    on_reader(scenario)


@pytest.mark.parametrize("last", ["nonsense", f"{'0' * 48}.5"])
def test_a_stream_that_cannot_be_resumed_says_reset(on_reader, last):
    async def scenario(_node, reader):
        events = asyncio.Queue()
        task = asyncio.create_task(stream(reader, events, [(b"last-event-id", last.encode())]))
        assert [parsed(await events.get())[0] for _ in range(1)] == ["tip"]
        an_id, event = split_id(await events.get())
        assert parsed(event) == ("reset", {})
        assert an_id == str(reader.follower.version), "or the next attempt says reset again"
        task.cancel()

    on_reader(scenario)


@pytest.mark.parametrize("ahead", [1, 10**17])
def test_a_stream_that_goes_on_from_a_version_that_is_not_there_yet_says_reset(on_reader, ahead):
    async def scenario(node, reader):
        await node.mine()
        await reader.catch_up()
        version = reader.follower.version
        later = f"{version.epoch.hex()}.{version.sequence + ahead}"
        events = asyncio.Queue()
        task = asyncio.create_task(stream(reader, events, [(b"last-event-id", later.encode())]))
        assert parsed(await events.get())[0] == "tip"
        an_id, event = split_id(await events.get())
        assert (an_id, parsed(event)) == (str(version), ("reset", {}))
        task.cancel()

    on_reader(scenario)


@pytest.mark.parametrize("error", [SnapshotUnavailableError("busy"), SnapshotExpiredError("slow")])
def test_a_stream_ends_quietly_if_the_journal_cannot_be_read_now(on_reader, monkeypatch, error):
    async def scenario(_node, reader):
        def snapshot():
            raise error

        events, last = asyncio.Queue(), str(reader.follower.version)
        monkeypatch.setattr(reader.context.events._follower, "snapshot", snapshot)
        await stream(reader, events, [(b"last-event-id", last.encode())])
        assert (parsed(await events.get())[0], events.empty()) == ("tip", True)

    on_reader(scenario)


def test_streams_that_resume_at_once_read_the_journal_one_after_the_other(on_reader, monkeypatch):
    """Else a few strangers with an old Last-Event-ID take all worker threads, and 200 MB each."""

    async def scenario(node, reader):
        last = str(reader.follower.version)
        for _ in range(3):
            await node.mine()
            await reader.catch_up()
        events = reader.context.events
        inside, overlap, since = [], threading.Event(), events._since

        def watched(before, limit):
            if limit != VERSIONS_AT_ONCE:  # what is new, for all subscribers
                return since(before, limit)
            inside.append(None)
            if len(inside) > 1:
                overlap.set()
            overlap.wait(0.05)
            inside.pop()
            return since(before, limit)

        monkeypatch.setattr(events, "_since", watched)
        queues = [asyncio.Queue() for _ in range(LISTENERS)]
        header = [(b"last-event-id", last.encode())]
        tasks = [asyncio.create_task(stream(reader, queue, header)) for queue in queues]
        for queue in queues:
            found = [parsed(split_id(await queue.get())[1]) for _ in range(4)]
            assert [name for name, _ in found] == ["tip", "block", "block", "block"]
        assert not overlap.is_set()
        for task in tasks:
            task.cancel()

    on_reader(scenario)
