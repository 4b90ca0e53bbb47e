"""docs/events.md says what the stream of events sends."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from chain.ledger.db.node_state import Version, parse_version
from chain.node import journal
from chain.node.journal import Added, Removed
from chain.node.mempool import RemovalReason
from chain.node.policy import Policy
from chain.primitives.numbers import Hash32, id_text
from chain.service.api import v1
from chain.service.api.events import (
    BEHIND_MAX,
    LISTENERS_MAX,
    AddedTx,
    JoinedBlock,
    RemovedTx,
    Update,
)
from chain.service.http.guard import GuardLimits
from chain.service.readers.journal_events import journal_update
from tests.api.harness import NOW, OTHER, payment
from tests.api.test_reading_events import split_id, stream
from tests.api.test_v1 import parsed
from tests.builders import pay, spend

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "events.md").read_text()
ONE, TWO, THREE = (Hash32(bytes([number]) * 32) for number in (1, 2, 3))
EVERYTHING = Update(
    id=Version(bytes(24), 1),
    is_reset=True,
    disconnected=(ONE,),
    connected=(JoinedBlock(TWO, 1, 2, 3),),
    added=(AddedTx(ONE, 1, 2, 3),),
    removed=(RemovedTx(TWO, RemovalReason.REPLACED, ONE),),
)


def sent() -> dict[str, list[str]]:
    """The fields of each event that an update can have."""
    events = [split_id(text.strip())[1] for text in v1.encode_events(EVERYTHING)]
    return {name: list(data) for name, data in map(parsed, events)}


def documented() -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    name = ""
    for event, field in re.findall(r"(?m)^\| (?:`(\w+)`)? ?\|[^|]*\| (?:`(\w+)`|none) \|", PAGE):
        name = event or name
        fields.setdefault(name, []).extend([field] if field else [])
    return fields


def test_the_page_has_each_event_with_each_of_its_fields_and_no_other(on_reader):
    async def scenario(_node, reader):
        events = asyncio.Queue()
        task = asyncio.create_task(stream(reader, events))
        name, data = parsed(await events.get())
        assert documented() == {name: list(data), **sent()}
        task.cancel()

    on_reader(scenario)


def test_the_events_come_in_the_order_that_the_page_says():
    order = re.search(r"come in this order: (.*)\.", PAGE)
    assert order
    assert re.findall(r"`(\w+)`", order[1]) == [name for name in sent() if name != "reset"]


def test_the_api_description_names_each_event_and_field(on_node):
    async def scenario(node):
        paths = (await node.json("/openapi.json"))["paths"]
        words = re.findall(r"`(\w+)`", paths["/api/v1/events"]["get"]["description"])
        shown = {word for name, fields in documented().items() for word in (name, *fields)}
        assert set(words) == shown

    on_node(scenario)


def test_the_page_has_each_reason_for_which_a_transaction_leaves_the_mempool():
    table = PAGE.split("| reason |")[1].split("\n\n")[0]
    reasons = {reason.value for reason in RemovalReason if reason is not RemovalReason.CONFIRMED}
    assert set(re.findall(r"(?m)^\| `(\w+)` \|", table)) == reasons


@pytest.mark.parametrize(
    "words",
    [
        f"After {v1.HEARTBEAT_S:.0f} seconds",
        f"{LISTENERS_MAX} streams",
        f"more than {BEHIND_MAX} changes",
        f"no byte for {GuardLimits().write_stall_s:.0f} seconds",
        f"at most {v1.TRANSACTIONS_PER_EVENT_MAX} come",
        f"{journal.VERSIONS_MAX:,} commits and {journal.BYTES_MAX // 1_000_000} MB",
    ],
)
def test_the_page_has_the_limits_of_the_code(words):
    assert words in PAGE


def test_the_examples_are_events_of_the_code():
    example = PAGE.split("```console\n")[1].split("```")[0]
    found = re.findall(r"(?m)^event: (\w+)\ndata: (.*)$", example)
    assert len(found) > 3
    for name, data in found:
        assert list(json.loads(data)) == documented()[name]


async def after(events: asyncio.Queue[str], count: int) -> list[tuple[str, dict]]:
    return [parsed(split_id(await events.get())[1]) for _ in range(count)]


def test_a_transaction_that_leaves_the_mempool_without_a_block_is_an_event_with_its_reason(
    on_reader,
):
    async def scenario(node, reader):
        events = asyncio.Queue()
        task = asyncio.create_task(stream(reader, events))
        assert (await after(events, 1))[0][0] == "tip"
        old, new = payment(node), payment(node, fee=5000)
        for tx in (old, new):
            await node.pool(tx)
            await reader.catch_up()
        assert await after(events, 3) == [
            ("transaction", {"txid": id_text(old.txid), "fee": 1000, "vsize": old.vsize,
                             "value": old.output_value}),
            ("transaction", {"txid": id_text(new.txid), "fee": 5000, "vsize": new.vsize,
                             "value": new.output_value}),
            ("removed", {"txid": id_text(old.txid), "reason": "replaced",
                         "by": id_text(new.txid)}),
        ]  # fmt: skip
        other = payment(node, fee=7000)
        await node.mine([other], fees=7000)
        await reader.catch_up()
        block, gone = await after(events, 2)
        assert block[0] == "block"
        by = id_text(other.txid)
        assert gone == ("removed", {"txid": id_text(new.txid), "reason": "conflict", "by": by})
        task.cancel()

    on_reader(scenario)


def test_a_transaction_that_a_block_has_in_the_commit_that_replaced_it_is_not_removed(on_reader):
    async def scenario(node, reader):
        events = asyncio.Queue()
        task = asyncio.create_task(stream(reader, events))
        assert (await after(events, 1))[0][0] == "tip"
        old, new = payment(node), payment(node, fee=5000)
        await node.pool(old)
        await reader.catch_up()
        assert (await after(events, 1))[0][0] == "transaction"
        confirming = node.chain.add([old], fees=1000)

        def replace_and_connect() -> None:
            node.context.node.submit_transaction(new, NOW)
            node.context.node.submit_block(confirming, NOW)

        await node.context.call(replace_and_connect)
        await node.context.wait_for_commit()
        await reader.catch_up()
        block, gone = await after(events, 2)
        assert block[0] == "block"
        by = id_text(old.txid)
        assert gone == ("removed", {"txid": id_text(new.txid), "reason": "conflict", "by": by})
        assert events.empty()
        assert reader.follower.view.pool.count == 0
        task.cancel()

    on_reader(scenario)


def locked_payment(node, height):
    """Return a transaction that may be in the block after this height, and no earlier."""
    point, coin = node.chain.coinbase_coin(1)
    outputs = [pay(coin.value - 1000, OTHER)]
    return spend([(point, coin)], outputs, lock_time=height, sequence=0)


def test_a_transaction_that_waits_and_is_not_final_after_a_reorganisation_is_removed(on_reader):
    async def scenario(node, reader):
        events = asyncio.Queue()
        task = asyncio.create_task(stream(reader, events))
        assert (await after(events, 1))[0][0] == "tip"
        await node.mine()
        tx = locked_payment(node, 103)
        await node.pool(tx)
        await reader.catch_up()
        assert [name for name, _ in await after(events, 2)] == ["block", "transaction"]
        await node.rpc("invalidateblock", id_text(node.chain.tip.id))
        await reader.catch_up()
        assert await after(events, 2) == [
            ("reorganisation", {"disconnected": [id_text(node.chain.tip.id)], "connected": []}),
            ("removed", {"txid": id_text(tx.txid), "reason": "reorganised", "by": None}),
        ]
        task.cancel()

    on_reader(scenario)


def test_a_confirmed_transaction_that_a_reorganisation_makes_invalid_is_removed(on_reader):
    """It does not wait again, as it is not final."""

    async def scenario(node, reader):
        events = asyncio.Queue()
        task = asyncio.create_task(stream(reader, events))
        assert (await after(events, 1))[0][0] == "tip"
        await node.mine()
        first, locked = node.chain.tip, locked_payment(node, 103)
        await node.mine([locked], fees=1000)
        await reader.catch_up()
        assert [name for name, _ in await after(events, 2)] == ["block", "block"]
        await node.rpc("invalidateblock", id_text(first.id))
        await reader.catch_up()
        gone = {"txid": id_text(locked.txid), "reason": "reorganised", "by": None}
        assert (await after(events, 2))[1] == ("removed", gone)
        task.cancel()

    on_reader(scenario)


def test_a_confirmed_transaction_for_which_a_full_mempool_has_no_room_is_removed(on_reader):
    async def scenario(node, reader):
        events = asyncio.Queue()
        task = asyncio.create_task(stream(reader, events))
        assert (await after(events, 1))[0][0] == "tip"
        tx = payment(node)
        block = await node.mine([tx], fees=1000)
        await reader.catch_up()
        assert [name for name, _ in await after(events, 1)] == ["block"]
        await node.rpc("invalidateblock", id_text(block.id))
        await reader.catch_up()
        gone = {"txid": id_text(tx.txid), "reason": "evicted", "by": None}
        assert (await after(events, 2))[1] == ("removed", gone)
        task.cancel()

    on_reader(scenario, policy=Policy(pool_bytes_max=1))


def test_a_transaction_that_both_branches_have_is_not_removed(on_reader):
    async def scenario(node, reader):
        events = asyncio.Queue()
        task = asyncio.create_task(stream(reader, events))
        assert (await after(events, 1))[0][0] == "tip"
        side, tx = node.chain.fork(0), payment(node)
        await node.mine([tx], fees=1000)
        await reader.catch_up()
        assert [name for name, _ in await after(events, 1)] == ["block"]
        await node.connect(side.add([tx], fees=1000, extra=b"side"), *side.grow(2))
        await reader.catch_up()
        names = [name for name, _ in await after(events, 4)]
        assert names == ["reorganisation", "block", "block", "block"]
        assert events.empty()
        task.cancel()

    on_reader(scenario)


def test_what_came_and_went_in_one_commit_is_no_transaction_of_the_mempool():
    """Else a client takes a payment for unconfirmed that is in the block before it."""

    def added(txid: Hash32) -> Added:
        return Added(1, txid, txid, 2, 3, 4)

    changes = [
        added(ONE),
        Removed(ONE, RemovalReason.CONFIRMED),
        Removed(TWO, RemovalReason.EVICTED),
        added(TWO),
        added(THREE),
        Removed(THREE, RemovalReason.REPLACED, TWO),
    ]
    version = parse_version(f"{'0' * 48}.5")
    update = journal_update(version, changes, None, None)
    assert [tx.txid for tx in update.added] == [TWO]
    assert update.removed == (RemovedTx(THREE, RemovalReason.REPLACED, TWO),)
