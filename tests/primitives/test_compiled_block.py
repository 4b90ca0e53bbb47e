"""Blocks read by compiled code: what Python reads, or nothing; and never a byte out of bounds."""

import os
import threading

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chain.llvm.hashing import host_features
from chain.primitives import compiled_block as module
from chain.primitives.block import Block, Header, decode_block
from chain.primitives.compiled_block import (
    CompiledReader,
    CompiledReaderError,
    is_same,
    read_body_in_python,
)
from chain.primitives.encoding import DecodeError, compact_size
from chain.primitives.numbers import NULL_HASH
from chain.primitives.transaction import Transaction, TxIn, TxOut
from tests.guarded_memory import GuardedMemory
from tests.primitives.strategies import transactions

HEADER = Header(1, NULL_HASH, NULL_HASH, 0, 0, 0)


def payment(number: int) -> Transaction:
    point = number.to_bytes(36, "little")
    outputs = [TxOut(number, b"\x00\x14" + bytes(20)), TxOut(7, b"\x00\x14" + b"\x01" * 20)]
    return Transaction(2, [TxIn(point, witness=(bytes(71), bytes(33)))], outputs)


PAYMENTS = [payment(number) for number in range(40)]
bodies = st.lists(st.one_of(transactions, st.sampled_from(PAYMENTS)), min_size=1, max_size=6)


def encoded(transactions) -> bytes:
    return b"".join([transaction.raw for transaction in transactions])


@pytest.fixture(scope="module", params=["this processor", "without SHA instructions"])
def reader(request):
    features = host_features()
    if request.param != "this processor":
        features["sha"] = False
    try:
        return CompiledReader(features)
    except CompiledReaderError as error:
        pytest.skip(str(error))


def check(reader, data: bytes, at: int, count: int) -> bool:
    """Read bytes between forbidden pages, both ways; return whether the compiled code did."""
    memory = GuardedMemory()
    guarded = memory(data)
    here = reader.read(guarded, at, count, memory)
    try:
        there = read_body_in_python(data, at, count)
    except DecodeError:
        assert here is None
        return False
    assert here is None or is_same(here, there)
    memory.free()
    return here is not None


@given(bodies, st.binary(max_size=90))
@example([*PAYMENTS, *PAYMENTS[-8:]], b"")  # a mutated tree
def test_any_transactions_read_as_in_python(reader, transactions, before):
    data = before + encoded(transactions)
    assert check(reader, data, len(before), len(transactions))


@given(bodies, st.data())
def test_changed_bytes_read_as_in_python_or_not_at_all(reader, transactions, data):
    raw = bytearray(encoded(transactions))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(raw) - 1))
        width = data.draw(st.sampled_from([1, 1, 1, 3, 5, 9]))
        sizes = st.sampled_from([b"\0", b"\x01", b"\xfc", b"\xfd\xfc\0", b"\xfd\xff\xff"])
        wide = st.sampled_from([b"\xfe" + b"\xff" * 4, b"\xff" * 9, b"\xff" + bytes(8)])
        raw[place : place + width] = data.draw(
            st.one_of(st.binary(min_size=width, max_size=width), sizes, wide)
        )
    count = max(1, len(transactions) + data.draw(st.integers(-1, 1)))
    check(reader, bytes(raw), 0, count)


@given(bodies, st.data())
def test_bytes_that_end_early_are_left_to_python(reader, transactions, data):
    raw = encoded(transactions)
    cut = data.draw(st.integers(0, len(raw) - 1))
    assert not check(reader, raw[:cut], 0, len(transactions))
    assert not check(reader, raw + bytes(1), 0, len(transactions))


@given(st.binary(max_size=400), st.integers(-2, 500), st.integers(-2, 500))
def test_garbage_is_left_to_python(reader, data, at, count):
    assert reader.read(data, at, count) is None


def test_a_payment_cut_anywhere_is_left_to_python(reader):
    raw = encoded(PAYMENTS[:2])
    for cut in range(len(raw)):
        assert not check(reader, raw[:cut], 0, 2)


@pytest.mark.parametrize("size", [0, 252, 253, 65_535])
def test_scripts_and_items_of_these_sizes_are_read(reader, size):
    script = bytes(size)
    inputs = [TxIn(bytes(36), script, 1, (script, b"")), TxIn(bytes(36), script)]
    raw = Transaction(1, inputs, [TxOut(1, script)]).raw
    assert check(reader, raw, 0, 1)


def test_rare_transactions_are_left_to_python(reader):
    txin, out = TxIn(bytes(36)), TxOut(0, b"")
    many_items = TxIn(bytes(36), witness=(b"",) * 1_000)
    for rare in (
        Transaction(1, [], []),
        Transaction(1, [TxIn(bytes(36), bytes(65_536))], [out]),
        Transaction(1, [txin], [TxOut(1, bytes(65_536))]),
        Transaction(1, [many_items], [out]),
        Transaction(1, [txin], [out] * 100),
    ):
        raw = rare.raw if rare.inputs else bytes(10)
        assert not check(reader, raw, 0, 1)
        block = Block(HEADER, [*PAYMENTS, rare])
        raw = block.raw if rare.inputs else Block(HEADER, PAYMENTS).raw[:-4] + bytes(4)
        assert decode_block(raw).raw == raw


def test_an_unknown_flag_and_a_superfluous_witness_are_left_to_python(reader):
    raw = bytearray(PAYMENTS[0].raw)
    raw[5] = 2
    assert not check(reader, bytes(raw), 0, 1)
    bare = Transaction(2, [TxIn(bytes(36))], [TxOut(1, b"")]).raw
    assert not check(reader, bare[:4] + b"\0\1" + bare[4:-4] + b"\0" + bare[-4:], 0, 1)


@pytest.mark.parametrize("count", [15, 16, 17, 40])
def test_a_block_decodes_to_the_same_whoever_reads_it(count):
    transactions = PAYMENTS[:count]
    block = decode_block(Block(HEADER, transactions).raw)
    assert block.transactions == tuple(transactions)
    assert block.merkle == Block(HEADER, transactions).merkle
    assert block.witness_root == Block(HEADER, transactions).witness_root
    assert block.base_size == Block(HEADER, transactions).base_size


@given(st.data())
def test_a_mutated_block_is_refused_or_keeps_its_bytes(data):
    raw = bytearray(Block(HEADER, PAYMENTS[:20]).raw)
    place = data.draw(st.integers(80, len(raw) - 1))
    raw[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del raw[data.draw(st.integers(81, len(raw) - 1)) :]
    try:
        block = decode_block(bytes(raw))
    except DecodeError:
        return
    parts = [Transaction(t.version, t.inputs, t.outputs, t.lock_time) for t in block.transactions]
    assert HEADER.encode() + compact_size(len(parts)) + encoded(parts) == bytes(raw)


def test_more_bytes_than_the_limit_are_left_to_python(reader, monkeypatch):
    raw = encoded(PAYMENTS)
    monkeypatch.setattr(module, "BYTES_MAX", len(raw) - 1)
    assert reader.read(raw, 0, len(PAYMENTS)) is None
    monkeypatch.setattr(module, "BYTES_MAX", len(raw))
    assert reader.read(raw, 0, len(PAYMENTS)) is not None


def test_any_number_of_threads_read_at_once(reader):
    raws = [encoded(PAYMENTS[start : start + 20]) for start in range(20)]
    wanted = [read_body_in_python(raw, 0, 20) for raw in raws]
    answers = {}

    def run(which):
        for at in range(which, len(raws), 4):
            answers[at] = is_same(reader.read(raws[at], 0, 20), wanted[at])

    threads = [threading.Thread(target=run, args=(which,)) for which in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == dict.fromkeys(range(20), True)


def test_without_llvm_blocks_are_read_in_python(monkeypatch):
    module._reader_or_none.cache_clear()
    monkeypatch.setattr(module, "_HAS_LLVM", False)
    raw = Block(HEADER, PAYMENTS).raw
    try:
        with pytest.warns(UserWarning, match="in Python"):
            assert decode_block(raw).raw == raw
        with pytest.raises(DecodeError, match="1 byte after the block"):
            decode_block(raw + os.urandom(1))
    finally:
        module._reader_or_none.cache_clear()


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("i64 40, i64 %script)", "i64 40, i64 %at)"),
        ("i64 8, i64 %base_size)", "i64 8, i64 %body_size)"),
        ("and i1 %is_same, %is_own", "and i1 %is_same, false"),
        ("br i1 %is_p2wpkh, label %done, label %other", "br label %done"),
        ("i64 %input_count, i64 4)", "i64 1, i64 4)"),
    ],
)
def test_code_that_reads_wrongly_is_not_used(monkeypatch, right, wrong):
    assert right in module.CODE
    monkeypatch.setattr(module, "CODE", module.CODE.replace(right, wrong))
    with pytest.raises(CompiledReaderError, match="otherwise"):
        CompiledReader()
