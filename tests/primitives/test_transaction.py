"""Transactions and blocks as bytes."""

import bz2
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.primitives.block import decode_block, decode_header
from chain.primitives.encoding import DecodeError
from chain.primitives.merkle import merkle_root
from chain.primitives.numbers import NULL_OUTPOINT, id_text
from chain.primitives.script import count_sigops
from chain.primitives.transaction import (
    Transaction,
    TxIn,
    TxOut,
    decode_transaction,
    read_transaction,
)
from tests.primitives.strategies import blocks, headers, transactions

# The native P2WPKH example of BIP143, signed.
BIP143_RAW = bytes.fromhex(
    "01000000000102fff7f7881a8099afa6940d42d1e7f6362bec38171ea3edf433541db4e4ad969f0000000049483045"
    "0221008b9d1dc26ba6a9cb62127b02742fa9d754cd3bebf337f7a55d114c8e5cdd30be022040529b194ba3f9281a99"
    "f2b1c0a19c0489bc22ede944ccf4ecbab4cc618ef3ed01eeffffffef51e1b804cc89d182d279655c3aa89e815b1b30"
    "9fe287d9b2b55d57b90ec68a0100000000ffffffff02202cb206000000001976a9148280b37df378db99f66f85c95a"
    "783a76ac7a6d5988ac9093510d000000001976a9143bde42dbee7e4dbe6a21b2d50ce2f0167faa815988ac00024730"
    "4402203609e17b84f6a7d30c80bfa610b5b4542f32a8a0d5447a12fb1366d7f01cc44a0220573a954c4518331561"
    "406f90300e8f3358f51928d43c212a8caed02de67eebee0121025476c2e83188368da1ff3e292e7acafcdb3566bb0a"
    "d253f62fc70f07aeee635711000000"
)


@given(transactions)
def test_a_transaction_reads_back_with_the_same_ids(transaction):
    decoded = decode_transaction(transaction.raw)
    assert decoded.inputs == transaction.inputs
    assert decoded.outputs == transaction.outputs
    assert (decoded.version, decoded.lock_time) == (transaction.version, transaction.lock_time)
    assert (decoded.txid, decoded.wtxid) == (transaction.txid, transaction.wtxid)
    assert (decoded.weight, decoded.vsize) == (transaction.weight, transaction.vsize)


@given(transactions, st.data())
def test_mutated_bytes_decode_to_themselves_or_not_at_all(transaction, data):
    raw = bytearray(transaction.raw)
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = decode_transaction(bytes(raw))
    except DecodeError:
        return
    fresh = Transaction(decoded.version, decoded.inputs, decoded.outputs, decoded.lock_time)
    if decoded.inputs:
        assert fresh.raw == bytes(raw)


@given(transactions, st.data())
def test_a_truncated_transaction_is_refused(transaction, data):
    cut = data.draw(st.integers(0, len(transaction.raw) - 1))
    with pytest.raises(DecodeError):
        decode_transaction(transaction.raw[:cut])


def test_bytes_after_a_transaction_are_refused():
    with pytest.raises(DecodeError, match="1 byte after"):
        decode_transaction(BIP143_RAW + b"\0")


def test_the_bip143_example_has_its_ids():
    transaction = decode_transaction(BIP143_RAW)
    assert id_text(transaction.txid).startswith("e8151a2af31c368a35053ddd4bdb285a")
    assert transaction.has_witness
    assert transaction.weight == 3 * transaction.base_size + len(BIP143_RAW)


def test_a_superfluous_witness_is_refused():
    bare = Transaction(1, [TxIn(NULL_OUTPOINT)], [TxOut(0, b"")]).raw
    marked = bare[:4] + b"\x00\x01" + bare[4:-4] + b"\x00" + bare[-4:]
    with pytest.raises(DecodeError, match="superfluous"):
        decode_transaction(marked)


@pytest.mark.parametrize("flag", [2, 3, 255])
def test_unknown_flags_are_refused(flag):
    with pytest.raises(DecodeError, match="unknown transaction optional data"):
        decode_transaction(BIP143_RAW[:5] + bytes([flag]) + BIP143_RAW[6:])


def test_no_inputs_and_no_outputs_is_a_transaction_as_in_bitcoin():
    decoded = decode_transaction(bytes.fromhex("01000000000000000000"))
    assert (decoded.inputs, decoded.outputs) == ((), ())


@given(headers)
def test_a_header_reads_back(header):
    assert decode_header(header.encode()) == header


@given(blocks)
def test_a_block_reads_back(block):
    decoded = decode_block(block.raw)
    assert decoded.header == block.header
    assert decoded.transactions == block.transactions
    assert (decoded.base_size, decoded.weight) == (block.base_size, block.weight)


@given(blocks)
def test_bytes_after_a_block_are_refused(block):
    with pytest.raises(DecodeError):
        decode_block(block.raw + b"\0")


def test_real_blocks_keep_their_merkle_roots(vectors):
    files = sorted(vectors.glob("bcoin/block*[0-9].raw")) + sorted(vectors.glob("blocks/*.bin"))
    count = 0
    for file in files:
        if file.name == "block1.raw":
            continue  # kept without its magic, read below
        block = decode_block(file.read_bytes())
        assert merkle_root([tx.txid for tx in block.transactions])[0] == block.header.merkle_root
        for tx in block.transactions:
            again = Transaction(tx.version, tx.inputs, tx.outputs, tx.lock_time)
            assert (again.raw, again.txid, again.wtxid) == (tx.raw, tx.txid, tx.wtxid)
            count += 1
    assert count > 2000


def test_the_first_mainnet_blocks_chain_up(vectors):
    data = bz2.decompress((vectors / "blocks" / "btcd_mainnet_blocks_1_256.bz2").read_bytes())
    at, previous, count = 0, None, 0
    while at < len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        block = decode_block(data[at + 8 : at + 8 + size])
        assert previous in {None, block.header.previous}
        assert merkle_root([tx.txid for tx in block.transactions])[0] == block.header.merkle_root
        previous, at, count = block.id, at + 8 + size, count + 1
    assert (count, id_text(previous)[:16]) == (255, "00000000d0a75c86")


def test_generated_transactions_have_their_ids(vectors):
    rows = json.loads((vectors / "bip143" / "generated_p2wpkh_400.json").read_text())
    for row in rows:
        transaction = decode_transaction(bytes.fromhex(row["tx"]))
        assert id_text(transaction.txid) == row["txid"]
        assert id_text(transaction.wtxid) == row["wtxid"]
        assert transaction.weight == row["weight"]


@given(transactions)
def test_outputs_and_sigops_are_the_same_of_what_was_made_and_what_was_read(transaction):
    decoded = decode_transaction(transaction.raw)
    encoded = b"".join(out.encode() for out in transaction.outputs)
    assert decoded.outputs_raw == transaction.outputs_raw == encoded
    scripts = [txin.script_sig for txin in transaction.inputs]
    scripts += [out.script for out in transaction.outputs]
    assert decoded.sigops == transaction.sigops == sum(map(count_sigops, scripts))


def test_a_transaction_inside_other_bytes_knows_its_own_outputs():
    decoded, end = read_transaction(b"abc" + BIP143_RAW + b"xyz", 3)
    assert end == 3 + len(BIP143_RAW)
    assert decoded.outputs_raw == decode_transaction(BIP143_RAW).outputs_raw
    assert decoded.raw == BIP143_RAW
