"""Rows summed by compiled code: the same sums as in Python, and never a byte out of bounds."""

import ctypes
import hashlib
import warnings
from array import array
from collections import defaultdict
from itertools import chain

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chain.consensus.coin import Coin
from chain.ledger.db.coins import CoinSet
from chain.ledger.db.index import row_sums as module
from chain.ledger.db.index.row_sums import (
    MODULUS,
    CompiledSums,
    CompiledSumsError,
    HashSum,
    add_history,
    add_history_in_python,
    add_txids,
    add_txids_in_python,
    sum_of_hashes_in_python,
)
from chain.ledger.db.records import encode_coin
from chain.llvm.hashing import host_features
from tests.guarded_memory import GuardedMemory

BUCKETS = 1 << 14
NUMBER_MAX = 2**64 - 1
edges = st.sampled_from([0, 1, MODULUS - 1, MODULUS, MODULUS + 1, 2**63 - 1, NUMBER_MAX])
numbers = st.one_of(edges, st.integers(0, NUMBER_MAX))


def keys(size):
    full = st.sampled_from([bytes(size), b"\xff" * size])
    return st.one_of(full, st.binary(min_size=size, max_size=size))


rows = st.tuples(keys(16), numbers, numbers, numbers, st.none() | st.binary(max_size=3))
flat_lists = st.lists(
    st.lists(rows, max_size=8).map(lambda some: [*chain.from_iterable(some)]), max_size=4
)
EXTREME = [b"\xff" * 16, NUMBER_MAX, NUMBER_MAX, NUMBER_MAX, None]


@pytest.fixture(scope="module", params=["this processor", "without SHA instructions"])
def code(request):
    features = host_features()
    if request.param != "this processor":
        features["sha"] = False
    try:
        return CompiledSums(features)
    except CompiledSumsError as error:
        pytest.skip(str(error))


@pytest.fixture
def always(monkeypatch):
    """Let any number of rows be summed by compiled code."""
    monkeypatch.setattr(module, "_ROWS_MIN", 0)
    if module._compiled_or_none() is None:
        pytest.skip("nothing can be compiled here")


def reduced(sums):
    return {bucket: total % MODULUS for bucket, total in sums.items() if total % MODULUS}


def summed(add, *parts):
    sums = defaultdict(int)
    for part in parts:
        add(sums, part)
    return reduced(sums)


def both(add, in_python, rows):
    """Return the sums of rows by compiled code, and those of all of `in_python`'s parts."""
    parts = rows if add is add_history else [rows]
    return summed(add, rows), summed(in_python, *parts)


def guarded_history(code, flat):
    """Return the sums of rows, each column and the sums in memory before a forbidden page."""
    memory = GuardedMemory()
    columns = [memory(bytes(column)) for column in module._history_columns(flat)]
    table = memory(8 * BUCKETS)
    code._add_history(ctypes.addressof(table), *columns, len(flat) // 5)
    sums = dict(enumerate(array("Q", table.raw)))
    memory.free()
    return reduced(sums)


@given(flat_lists.filter(any))
@example([EXTREME * 3_000])
@example([[*EXTREME[:1], 0, 0, 0, None], [bytes(16), *EXTREME[1:]]])
def test_history_has_the_sums_of_python(code, lists):
    flat = [*chain.from_iterable(lists)]
    assert guarded_history(code, flat) == summed(add_history_in_python, flat)


@given(st.lists(keys(32), max_size=8))
@example([b"\xff" * 32] * 3_000)
def test_txids_have_the_sums_of_python(code, txids):
    memory = GuardedMemory()
    table = memory(8 * BUCKETS)
    code._add_txids(ctypes.addressof(table), memory(b"".join(txids)), len(txids))
    sums = dict(enumerate(array("Q", table.raw)))
    memory.free()
    assert reduced(sums) == summed(add_txids_in_python, txids)


@given(st.lists(st.binary(max_size=200), max_size=8))
@example([bytes(size) for size in range(260)])
def test_hashes_have_the_sum_of_python(code, messages):
    memory = GuardedMemory()
    sizes = array("Q", map(len, messages))
    data, total = memory(b"".join(messages)), memory(32)
    code._sum_hashes(ctypes.addressof(total), data, memory(sizes.tobytes()), len(messages))
    here = int.from_bytes(total.raw, "little")
    memory.free()
    assert here == sum_of_hashes_in_python(messages) % 2**256
    assert here == code.sum_of_hashes(b"".join(messages), sizes)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_rows_have_the_sums_of_python(always, count):
    here, there = both(add_history, add_history_in_python, [EXTREME * count, []])
    assert here == there
    here, there = both(add_txids, add_txids_in_python, [b"\xff" * 32] * count)
    assert here == there
    hashes = HashSum(count)
    hashes.add([b"message"] * count)
    assert hashes.total() == sum_of_hashes_in_python([b"message"] * count) % 2**256


@pytest.mark.parametrize(
    "row",
    [
        [bytes(16), -1, 0, 0, None],
        [bytes(16), 0, 2**64, 0, None],
        [b"\x01" * 15, 1, 2, 3, None],
        [
            bytes(16),
            1,
            2,
            3,
            None,
            b"\x01" * 15,
            1,
            2,
            3,
            None,
            b"\0" + b"\x01" * 16,
            1,
            2,
            3,
            None,
        ],
    ],
)
def test_rows_that_do_not_fit_are_summed_in_python(always, row):
    lists = [EXTREME, EXTREME + row, EXTREME]
    here, there = both(add_history, add_history_in_python, lists)
    assert here == there


def test_txids_of_other_sizes_are_summed_in_python(always):
    here, there = both(add_txids, add_txids_in_python, [b"\x01" * 31, b"\0" + b"\x01" * 32])
    assert here == there


@pytest.mark.parametrize("flat", [EXTREME[:-1], [*EXTREME, bytes(16)], [bytes(16), None, 0, 0, 0]])
def test_what_python_refuses_is_refused(always, flat):
    with pytest.raises((ValueError, TypeError)):
        add_history(defaultdict(int), [flat])
    with pytest.raises((ValueError, TypeError)):
        add_history_in_python(defaultdict(int), flat)


def test_columns_of_different_lengths_are_refused(code):
    table = module._new_table()
    with pytest.raises(ValueError, match="columns"):
        code.add_history(table, [bytes(32), bytes(16), bytes(16), bytes(8)])
    with pytest.raises(ValueError, match="sizes"):
        code.sum_of_hashes(bytes(3), array("Q", [2, 2]))
    assert not any(table)


@given(st.lists(st.lists(st.binary(max_size=90), max_size=5), max_size=5), st.integers(0, 8))
def test_messages_may_come_in_any_parts(parts, at_once):
    messages = [*chain.from_iterable(parts)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_ROWS_MIN", 0)
        patch.setattr(module, "_MESSAGES_MAX", at_once)
        hashes = HashSum(len(messages))
        for part in parts:
            hashes.add(part)
        assert hashes.total() == sum_of_hashes_in_python(messages) % 2**256


def test_coins_have_the_digest_that_is_in_ledgers(always):
    scripts = [bytes(size) for size in (0, 22, 252, 253, 10_000)]
    coins = {
        bytes([index]) * 36: Coin(5 * index, script, index, index % 2 == 0)
        for index, script in enumerate(scripts)
    }
    hashes = [hashlib.sha256(point + encode_coin(coin)).digest() for point, coin in coins.items()]
    digest = sum(int.from_bytes(each, "little") for each in hashes) % 2**256
    full = CoinSet().after({}, coins)
    assert full == CoinSet(digest, len(coins), sum(range(0, 25, 5)), sum(map(len, scripts)))
    assert full.after(coins, {}) == CoinSet()


def test_processes_with_few_rows_compile_nothing():
    module._compiled_or_none.cache_clear()
    few = module._ROWS_MIN - 1
    summed(add_history, [EXTREME * few])
    summed(add_txids, [bytes(32)] * few)
    HashSum(few).total()
    assert module._compiled_or_none.cache_info().misses == 0


def test_without_llvm_rows_are_summed_in_python_with_one_warning(monkeypatch):
    module._compiled_or_none.cache_clear()
    monkeypatch.setattr(module, "_HAS_LLVM", False)
    lists = [EXTREME * module._ROWS_MIN]
    try:
        with pytest.warns(UserWarning, match="in Python"):
            here, there = both(add_history, add_history_in_python, lists)
        assert here == there
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            hashes = HashSum(module._ROWS_MIN)
            hashes.add([b"message"])
            assert hashes.total() == sum_of_hashes_in_python([b"message"])
    finally:
        module._compiled_or_none.cache_clear()


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (f"i128 {module._SLOT})", f"i128 {module._NUMBER})"),
        ("add i128 %three, 1", "add i128 %three, 0"),
        ("lshr i128 %key, 114", "lshr i128 %key, 115"),
        ("shl i128 %small_first, 6", "shl i128 %small_first, 5"),
        ("%sum = add i128 %wide_before, %small", "%sum = add i128 0, %small"),
        ("%low_again = and i128 %once", "%low_again = and i128 %number"),
        ("%more = add i256 %sum, %hash", "%more = xor i256 %sum, %hash"),
    ],
)
def test_code_that_sums_wrongly_is_not_used(monkeypatch, right, wrong):
    assert right in module.CODE
    monkeypatch.setattr(module, "CODE", module.CODE.replace(right, wrong))
    with pytest.raises(CompiledSumsError, match="other sums"):
        CompiledSums()
