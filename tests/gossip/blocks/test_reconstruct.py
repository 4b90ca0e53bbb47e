"""Short ids and compact blocks against public vectors; reconstruction of blocks."""

import json

import pytest
from siphash24 import siphash24

from chain.gossip.blocks.reconstruct import PartialBlock
from chain.gossip.short_ids import CollisionError, ShortIds
from chain.gossip.wire.compact import BlockTransactions, CompactBlock, GetBlockTransactions
from chain.primitives.block import decode_block
from chain.primitives.encoding import DecodeError
from chain.primitives.transaction import Transaction
from tests.builders import ChainBuilder, pay, spend


class Pool:
    """A mempool of these transactions."""

    def __init__(self, *transactions: Transaction) -> None:
        self.held = {tx.wtxid: tx for tx in transactions}

    def wtxids(self):
        return list(self.held)

    def by_wtxid(self, wtxid):
        return Item(self.held[wtxid])


class Item:
    """A mempool item without a fee."""

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction
        self.fee = 0


class Colliding(ShortIds):
    """Gives some transactions the short id of another one."""

    def __init__(self, same: dict) -> None:
        self.same = same

    def compute(self, key, wtxids):
        return super().compute(key, [self.same.get(wtxid, wtxid) for wtxid in wtxids])


BUILDER = ChainBuilder()
BUILDER.grow(105)
TXS = [
    spend([BUILDER.coinbase_coin(height)], [pay(BUILDER.coinbase_coin(height)[1].value)])
    for height in range(1, 6)
]
BLOCK = BUILDER.fork(0).add(TXS[:4])
SHORTENER = ShortIds()
COMPACT = SHORTENER.compact_block(BLOCK.header, BLOCK.transactions, (0,), 7)


def test_siphash_gives_the_values_of_bitcoins_own_test(vectors):
    cases = json.loads((vectors / "core/siphash.json").read_text())
    for case in cases:
        key = b"".join(int(half, 16).to_bytes(8, "little") for half in case["key"])
        hasher = siphash24(b"".join(map(bytes.fromhex, case["input"])), key=key)
        assert hasher.intdigest() % 2**64 == int(case["expected"]["siphash24"], 16)
    assert len(cases) > 10


def test_real_compact_blocks_decode_and_have_the_short_ids_of_their_transactions(vectors):
    """They are of version 1, whose short ids are those of txids."""
    for case in json.loads((vectors / "bip152/shortids_check.json").read_text()):
        raw = (vectors / case["compact"]).read_bytes()
        message = CompactBlock.decode(raw)
        block = decode_block((vectors / case["block"]).read_bytes())
        assert message.key.hex() == case["siphash_k0_k1"]
        assert message.encode() == raw
        assert CompactBlock.decode(message.encode()) == message
        rest = [tx.txid for tx in block.transactions]
        for position, transaction in reversed(message.prefilled):
            assert rest.pop(position) == transaction.txid
        assert list(message.short_ids) == SHORTENER.compute(message.key, rest)
        assert len(message.short_ids) == case["shortids"]


def test_a_block_whose_transactions_one_has_needs_no_question():
    partial = PartialBlock(COMPACT, Pool(*TXS), (), SHORTENER)
    assert partial.missing == ()
    assert partial.assemble().raw == BLOCK.raw


def test_what_the_pool_does_not_have_may_be_among_the_extra_ones():
    partial = PartialBlock(COMPACT, Pool(*TXS[:3]), (TXS[3],), SHORTENER)
    assert partial.assemble().raw == BLOCK.raw


@pytest.mark.parametrize("whole", [(), (0,), (0, 2), (1, 4), (0, 1, 2, 3, 4)])
def test_gaps_are_asked_for_by_their_positions_and_filled(whole):
    message = SHORTENER.compact_block(BLOCK.header, BLOCK.transactions, whole, 7)
    partial = PartialBlock(message, Pool(TXS[1]), (), SHORTENER)
    asked = partial.request()
    assert asked.positions == tuple(p for p in (0, 1, 3, 4) if p not in whole)
    wanted = tuple(BLOCK.transactions[position] for position in asked.positions)
    assert partial.fill(BlockTransactions(BLOCK.id, wanted))
    assert partial.assemble().raw == BLOCK.raw


def test_other_transactions_than_those_asked_for_are_told_from_them():
    def answers(*transactions):
        partial = PartialBlock(COMPACT, Pool(*TXS[:2]), (), SHORTENER)
        return partial.fill(BlockTransactions(BLOCK.id, transactions))

    assert answers(TXS[2], TXS[3])
    assert not answers(TXS[3], TXS[2])
    assert not answers(TXS[2])
    assert not answers(TXS[2], TXS[3], TXS[4])
    assert not answers(TXS[2], TXS[4])


def test_two_equal_short_ids_in_a_block_cannot_be_told_apart():
    colliding = Colliding({TXS[0].wtxid: TXS[1].wtxid})
    message = colliding.compact_block(BLOCK.header, BLOCK.transactions, (0,), 7)
    with pytest.raises(CollisionError):
        PartialBlock(message, Pool(*TXS), (), colliding)


def test_two_of_ours_with_the_short_id_of_one_leave_a_gap():
    colliding = Colliding({TXS[4].wtxid: TXS[1].wtxid})
    message = colliding.compact_block(BLOCK.header, BLOCK.transactions, (0,), 7)
    assert PartialBlock(message, Pool(*TXS), (), colliding).missing == (2,)


def test_one_of_ours_with_the_short_id_of_another_makes_no_block():
    colliding = Colliding({TXS[4].wtxid: TXS[1].wtxid})
    message = colliding.compact_block(BLOCK.header, BLOCK.transactions, (0,), 7)
    partial = PartialBlock(message, Pool(TXS[0], TXS[2], TXS[3], TXS[4]), (), colliding)
    assert partial.missing == ()
    assert partial.assemble() is None


def test_a_repeated_tail_that_keeps_the_merkle_root_makes_no_block():
    block = BUILDER.fork(0).add(TXS[:2])
    assert SHORTENER.assemble(block.header, block.transactions) is not None
    doubled = (*block.transactions, block.transactions[-1])
    assert SHORTENER.assemble(block.header, doubled) is None


@pytest.mark.parametrize(
    "payload",
    [
        BLOCK.header.encode() + bytes(8) + b"\x00\x00",  # no transactions at all
        BLOCK.header.encode() + bytes(8) + b"\x00\x01\x01" + TXS[0].raw,  # behind the end
        BLOCK.header.encode() + bytes(8) + b"\xfd\x1b\x41",  # 16,667
    ],
)
def test_compact_blocks_that_cannot_be_are_refused(payload):
    with pytest.raises(DecodeError):
        CompactBlock.decode(payload)


@pytest.mark.parametrize(("position", "fits"), [(16_665, True), (16_666, False)])
def test_positions_have_a_bound(position, fits):
    payload = GetBlockTransactions(BLOCK.id, (position,)).encode()
    if fits:
        assert GetBlockTransactions.decode(payload).positions == (position,)
    else:
        with pytest.raises(DecodeError):
            GetBlockTransactions.decode(payload)


def test_as_many_positions_as_there_may_be_fit_into_the_cap():
    message = GetBlockTransactions(BLOCK.id, tuple(range(16_666)))
    assert len(message.encode()) <= message.bytes_max
