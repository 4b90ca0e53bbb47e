"""What a message is taken to weigh is what it weighs."""

import pytest
from hypothesis import given

from chain.gossip.wire.address import Address
from chain.gossip.wire.compact import (
    BlockTransactions,
    CompactBlock,
    GetBlockTransactions,
    SendCompact,
)
from chain.gossip.wire.frames import encode_frame
from chain.gossip.wire.messages import (
    INVENTORY_MAX,
    Addresses,
    AddressRecord,
    BlockMessage,
    Bye,
    FeeFilter,
    GetAddresses,
    GetData,
    GetHeaders,
    Headers,
    Inv,
    Inventory,
    NotFound,
    Ping,
    Pong,
    TxMessage,
)
from chain.primitives.numbers import NULL_HASH
from chain.simulator.scenario import MINER_SCRIPT, Scenario, Shape
from chain.simulator.sizes import frame_size
from tests.gossip.wire.test_frames import BY_KIND


def large_messages():
    """Yield messages at the limits where the size of a count or of a list changes."""
    scenario = Scenario(Shape(nodes=2, seed=1))
    block = scenario.nodes[0].mine(MINER_SCRIPT)
    coinbase = block.transactions[0]
    v4, v6 = Address(bytes([1, 2, 3, 4]), 9444), Address(bytes(range(16)), 9444)
    yield BlockMessage(block.raw)
    yield TxMessage(coinbase)
    yield CompactBlock(block.header, 7, (1, 2, 3), ((0, coinbase),))
    yield GetBlockTransactions(block.id, (1, 400))
    yield SendCompact(announces=True, version=2)
    for count in (0, 1, 252, 253, INVENTORY_MAX):
        yield Headers((block.header,) * count)
        yield Inv((Inventory(5, NULL_HASH),) * count)
        yield GetData((Inventory(5, NULL_HASH),) * count)
        yield NotFound((Inventory(5, NULL_HASH),) * count)
        yield BlockTransactions(block.id, (coinbase,) * count)
    for count in (0, 1, 101):
        yield GetHeaders((NULL_HASH,) * count, NULL_HASH)
    for services in (0, 252, 253, 70_000):
        yield Addresses((AddressRecord(v4, 1, services), AddressRecord(v6, 2, services)))
    yield Addresses((AddressRecord(v4, 1, 1),) * 1000)
    yield from (Ping(1), Pong(2), FeeFilter(1000), Bye(200, 5), GetAddresses())


def test_a_frame_has_the_size_that_is_worked_out_for_it():
    for message in large_messages():
        assert frame_size(message) == len(encode_frame(message)), type(message).__name__


@pytest.mark.parametrize("kind", sorted(BY_KIND, key=lambda kind: kind.type))
def test_the_frame_of_any_message_has_the_size_that_is_worked_out_for_it(kind):
    @given(BY_KIND[kind])
    def check(message):
        assert frame_size(message) == len(encode_frame(message))

    check()
