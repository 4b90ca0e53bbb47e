"""Public vectors of others about blocks and the form of transactions; scripts: tests/script.

That is what Bitcoin's CheckTransaction and CheckBlock look at, codec and proof of work.
"""

import bz2
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from chain.consensus.block_validation import check_block, check_block_context
from chain.consensus.entry import BlockTreeEntry
from chain.consensus.errors import InvalidError, Reason
from chain.consensus.header import check_header_work
from chain.consensus.params import REGTEST
from chain.consensus.transaction import check_transaction
from chain.primitives.block import Block, decode_block, decode_header
from chain.primitives.transaction import Transaction, decode_transaction
from tests.builders import solve
from tests.consensus.checks import refused

MAINNET_WORK = replace(REGTEST, target_limit_bits=0x1D00FFFF)  # a rule of one test: work alone


def rows(vectors, name):
    """Return the rows of one of Core's files, each with the comment before it."""
    comment, found = "", []
    for row in json.loads((vectors / "core" / name).read_text()):
        if isinstance(row[0], str):
            comment = row[0]
        else:
            found.append((comment, *row))
    return found


def test_every_valid_transaction_is_well_formed(vectors):
    for _, _, raw, _ in rows(vectors, "tx_valid.json"):
        tx = decode_transaction(bytes.fromhex(raw))
        check_transaction(tx, REGTEST)
        assert Transaction(tx.version, tx.inputs, tx.outputs, tx.lock_time).raw.hex() == raw


def test_every_badly_formed_transaction_is_refused(vectors):
    reasons = []
    for _, _, raw, flags in rows(vectors, "tx_invalid.json"):
        if flags == "BADTX":
            with pytest.raises(InvalidError) as caught:
                check_transaction(decode_transaction(bytes.fromhex(raw)), REGTEST)
            reasons.append(caught.value.reason)
    assert reasons == [
        Reason.OUTPUTS_EMPTY,
        Reason.VALUE_NEGATIVE,
        Reason.VALUE_TOO_LARGE,
        Reason.VALUE_SUM_TOO_LARGE,
        Reason.INPUTS_DUPLICATE,
        Reason.COINBASE_LENGTH,
        Reason.COINBASE_LENGTH,
        Reason.PREVOUT_NULL,
        Reason.PREVOUT_NULL,
    ]


def checkblock_rows(vectors, name):
    found = json.loads((vectors / "blocks" / name).read_text())
    return [row for row in found if len(row) == 5]


def test_valid_blocks_pass_the_checks_of_a_block_alone(vectors):
    cases = checkblock_rows(vectors, "checkblock_valid.json")
    for comment, is_header, _, _, raw in cases:
        assert not is_header
        block = decode_block(bytes.fromhex(raw))
        check_block(block, MAINNET_WORK)
        assert Block(block.header, block.transactions).raw.hex() == raw, comment
    assert len(cases) == 4


CHECKBLOCK = {
    "Genesis with one byte changed": Reason.PROOF_OF_WORK,
    "Empty vtx": Reason.MERKLE_ROOT,
    "One tx, but not a coinbase": Reason.COINBASE_MISSING,
    "More than one coinbase (different coinbases)": Reason.COINBASE_MULTIPLE,
    "Duplicate transaction": Reason.MERKLE_ROOT,  # a root over two for three transactions
    "Merkle root mismatch": Reason.MERKLE_ROOT,
}


@pytest.mark.parametrize("name", CHECKBLOCK)
def test_invalid_blocks_are_refused_for_their_fault(name, vectors):
    """Rows that do not check work get work. One row more is about the clock, not the block."""
    by_comment = {row[0]: row for row in checkblock_rows(vectors, "checkblock_invalid.json")}
    assert len(by_comment) == len(CHECKBLOCK) + 1
    _, _, with_work, _, raw = by_comment[name]
    block = decode_block(bytes.fromhex(raw))
    if with_work:
        with refused(CHECKBLOCK[name]):
            check_block(block, MAINNET_WORK)
    else:
        worked = solve(replace(block.header, bits=REGTEST.target_limit_bits, nonce=0))
        with refused(CHECKBLOCK[name]):
            check_block(Block(worked, block.transactions), REGTEST)


def test_mainnet_headers_have_work_and_link_and_times_after_the_median(vectors):
    """BIP54's nine header chains: today's rules take them all, whatever BIP54 says of them."""
    tree = json.loads((vectors / "bip54" / "timestamps.json").read_text())
    pending, leaves, seen = [(tree, None)], 0, 0
    while pending:
        node, at = pending.pop()
        for raw in node["block_headers"]:
            header = decode_header(bytes.fromhex(raw))
            check_header_work(header, MAINNET_WORK)
            if at is not None:
                assert header.previous == at.id
                assert header.time > at.median_time_past
            assert header.encode().hex() == raw
            at = BlockTreeEntry(header, at)
            seen += 1
        pending += [(extension, at) for extension in node.get("extensions", [])]
        leaves += not node.get("extensions")
    assert leaves == 9
    assert seen > 4000


def test_early_mainnet_blocks_pass_the_checks_of_a_block_alone(vectors):
    data = bz2.decompress((vectors / "blocks" / "btcd_mainnet_blocks_1_256.bz2").read_bytes())
    at, seen, previous = 0, 0, None
    while at < len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        block = decode_block(data[at + 8 : at + 8 + size])
        check_block(block, MAINNET_WORK)
        assert previous in {None, block.header.previous}
        previous, at, seen = block.id, at + 8 + size, seen + 1
    assert seen == 255


REAL = {
    "blocks/block_170.bin": 170,
    "blocks/block_200000.bin": 200_000,
    "bcoin/block300025.raw": 300_025,
    "bcoin/block426884.raw": 426_884,
    "bcoin/block482683.raw": 482_683,
    "bcoin/block898352.raw": 898_352,
    "bcoin/block928816.raw": 928_816,
    "bcoin/block1087400.raw": 1_087_400,
}


@pytest.mark.parametrize("name", REAL)
def test_real_blocks_pass_all_checks_that_need_no_coins(name, vectors):
    """Work, Merkle root, weight, sigops; BIP34 and the witness commitment where active."""
    raw = (vectors / name).read_bytes()
    block = decode_block(raw)
    check_block(block, MAINNET_WORK)
    assert Block(block.header, block.transactions).raw == raw
    if REAL[name] > 227_931:  # BIP34's height on mainnet
        parent = SimpleNamespace(height=REAL[name] - 1, median_time_past=block.header.time)
        check_block_context(block, parent)
