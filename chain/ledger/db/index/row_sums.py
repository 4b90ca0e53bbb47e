"""Sums over many rows: the digests of the indexes, and the digest of the coin set.

Thousands of rows are summed by code that LLVM compiles when they first occur, in calls that do not
hold the GIL. Fewer, or such as do not fit its columns, are summed in Python, with the same result.

Safety: the compiled code gets columns and the number of rows. `CompiledSums` makes the columns, and
checks their lengths against that number. A row's bucket is the first 14 bits of its key, so that it
is always among the 16,384 sums. The sizes of messages have to add up to the bytes that they are in.
"""

import ctypes
import sys
import warnings
from array import array
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

from chain.ledger.db.schema import SCRIPT_KEY_BYTES

try:
    from chain.llvm.hashing import DECLARATIONS, compiled, host_features
except ImportError:  # no wheel of llvmlite for this platform
    _HAS_LLVM = False
else:
    _HAS_LLVM = True

MODULUS: Final = (1 << 61) - 1
HASH_BYTES: Final = 32
_HASH_MODULUS: Final = 1 << 8 * HASH_BYTES
_MESSAGES_MAX: Final = 16_384  # for one call: each may wait for the GIL when it returns
_ROWS_MIN: Final = 5_000  # fewer are not worth some 25 ms of compilation
_BUCKET_BITS: Final = 14
_HISTORY_COLUMNS: Final = 5  # script, number, slot, value, point
_NUMBER_BYTES: Final = 8
_TXID_SHIFT: Final = 8 * HASH_BYTES - _BUCKET_BITS  # from a key, as a number, to its bucket's
_SCRIPT_KEY_SHIFT: Final = 8 * SCRIPT_KEY_BYTES - _BUCKET_BITS
_NUMBER: Final = 0x0D1B_54A3_2D19_2ED0  # any factors work that are not small
_SLOT: Final = 0x1CEB_9FE1_A85E_C53A
_VALUE: Final = 0x0B67_9C6E_B94D_049B
assert max(_NUMBER, _SLOT, _VALUE) < MODULUS, "three products with 64 bits fit in 127"
assert SCRIPT_KEY_BYTES == 16, "the compiled code reads 128 bits"

CODE: Final = f"""
declare i128 @llvm.bswap.i128(i128)

; Return a number under 2^62 that is congruent modulo p = 2^61 - 1, as 2^61 is congruent to 1. The
; first step leaves less than 2^68, the second less than 2^61 + 2^7. Division would call a library.
define internal i128 @folded(i128 %number) {{
  %low = and i128 %number, {MODULUS}
  %high = lshr i128 %number, 61
  %once = add i128 %low, %high
  %low_again = and i128 %once, {MODULUS}
  %high_again = lshr i128 %once, 61
  %twice = add i128 %low_again, %high_again
  ret i128 %twice
}}

; Add to the sum of the bucket of a key, of which these are the first 128 bits. A sum is always the
; result of `folded`.
define internal void @add(ptr %sums, i128 %key, i128 %number) {{
  %bucket = lshr i128 %key, {128 - _BUCKET_BITS}
  %index = trunc i128 %bucket to i64
  %place = getelementptr i64, ptr %sums, i64 %index
  %before = load i64, ptr %place
  %wide_before = zext i64 %before to i128
  %small = call i128 @folded(i128 %number)
  %sum = add i128 %wide_before, %small
  %folded_sum = call i128 @folded(i128 %sum)
  %after = trunc i128 %folded_sum to i64
  store i64 %after, ptr %place
  ret void
}}

; Return the big-endian number of 128 bits with this index.
define internal i128 @key(ptr %keys, i64 %index) {{
  %place = getelementptr i128, ptr %keys, i64 %index
  %bytes = load i128, ptr %place, align 1
  %key = call i128 @llvm.bswap.i128(i128 %bytes)
  ret i128 %key
}}

; Return the product of the number with this index and a factor under 2^61.
define internal i128 @product(ptr %numbers, i64 %index, i128 %factor) {{
  %place = getelementptr i64, ptr %numbers, i64 %index
  %number = load i64, ptr %place, align 1
  %wide = zext i64 %number to i128
  %product = mul i128 %wide, %factor
  ret i128 %product
}}

; Add key * (1 + a * number + b * slot + c * value) of `count` rows.
define void @add_history(
  ptr %sums, ptr %keys, ptr %numbers, ptr %slots, ptr %values, i64 %count) {{
entry:
  br label %look
look:
  %index = phi i64 [0, %entry], [%next, %row]
  %is_more = icmp ult i64 %index, %count
  br i1 %is_more, label %row, label %done
row:
  %key = call i128 @key(ptr %keys, i64 %index)
  %of_number = call i128 @product(ptr %numbers, i64 %index, i128 {_NUMBER})
  %of_slot = call i128 @product(ptr %slots, i64 %index, i128 {_SLOT})
  %of_value = call i128 @product(ptr %values, i64 %index, i128 {_VALUE})
  %two = add i128 %of_number, %of_slot
  %three = add i128 %two, %of_value
  %fields = add i128 %three, 1
  %small_fields = call i128 @folded(i128 %fields)
  %small_key = call i128 @folded(i128 %key)
  %digest = mul i128 %small_key, %small_fields
  call void @add(ptr %sums, i128 %key, i128 %digest)
  %next = add i64 %index, 1
  br label %look
done:
  ret void
}}

; Add `count` txids: their first half * 2^128, which is congruent to 2^6, and their second.
define void @add_txids(ptr %sums, ptr %txids, i64 %count) {{
entry:
  br label %look
look:
  %index = phi i64 [0, %entry], [%next, %row]
  %is_more = icmp ult i64 %index, %count
  br i1 %is_more, label %row, label %done
row:
  %first_at = shl i64 %index, 1
  %second_at = add i64 %first_at, 1
  %first = call i128 @key(ptr %txids, i64 %first_at)
  %second = call i128 @key(ptr %txids, i64 %second_at)
  %small_first = call i128 @folded(i128 %first)
  %small_second = call i128 @folded(i128 %second)
  %shifted = shl i128 %small_first, 6
  %digest = add i128 %shifted, %small_second
  call void @add(ptr %sums, i128 %first, i128 %digest)
  %next = add i64 %index, 1
  br label %look
done:
  ret void
}}

; Write the sum of the hashes of `count` messages, which follow one another, from their sizes.
define void @sum_hashes(ptr %out, ptr %data, ptr %sizes, i64 %count) {{
entry:
  %hash_at = alloca i256
  br label %look
look:
  %index = phi i64 [0, %entry], [%next, %message]
  %at = phi ptr [%data, %entry], [%after, %message]
  %sum = phi i256 [0, %entry], [%more, %message]
  %is_more = icmp ult i64 %index, %count
  br i1 %is_more, label %message, label %done
message:
  %size_at = getelementptr i64, ptr %sizes, i64 %index
  %size = load i64, ptr %size_at, align 1
  call void @sha256(ptr %hash_at, ptr %at, i64 %size)
  %hash = load i256, ptr %hash_at
  %more = add i256 %sum, %hash
  %after = getelementptr i8, ptr %at, i64 %size
  %next = add i64 %index, 1
  br label %look
done:
  store i256 %sum, ptr %out, align 1
  ret void
}}
"""

Sums = defaultdict[int, int]  # by bucket; to be reduced modulo MODULUS


class CompiledSumsError(Exception):
    """Rows cannot be summed by compiled code on this machine."""


def add_txids(sums: Sums, txids: Sequence[bytes]) -> None:
    """Add rows of `transactions` to the sums of their buckets."""
    code = _code_for(len(txids))
    joined = b"" if code is None else b"".join(txids)
    if code is None or not _have_size(txids, HASH_BYTES):
        add_txids_in_python(sums, txids)
        return
    table = _new_table()
    code.add_txids(table, joined)
    _add_table(sums, table)


def add_history(sums: Sums, flat_lists: Collection[Sequence[Any]]) -> None:
    """Add rows of `history` to the sums of their buckets: see `DigestChanges.add_history`."""
    code = _code_for(sum(map(len, flat_lists)) // _HISTORY_COLUMNS)
    packed = []
    for flat in flat_lists:
        columns = None if code is None else _history_columns(flat)
        if columns is None:
            add_history_in_python(sums, flat)
        else:
            packed.append(columns)
    if code is not None and packed:
        table = _new_table()
        code.add_history(table, [b"".join(column) for column in zip(*packed, strict=True)])
        _add_table(sums, table)


class HashSum:
    """The sum of messages' SHA-256, as little-endian numbers."""

    def __init__(self, count: int) -> None:
        """Expect about so many messages."""
        self._code = _code_for(count)
        self._sum = 0
        self._joined: list[bytes] = []
        self._sizes = array("Q")  # of the messages in them

    def add(self, messages: Iterable[bytes]) -> None:
        """Add messages. Some hundreds at once stay in the processor's cache."""
        messages = tuple(messages)
        if self._code is None:
            self._sum += sum_of_hashes_in_python(messages)
            return
        self._joined.append(b"".join(messages))
        self._sizes.extend(array("Q", map(len, messages)))
        if len(self._sizes) >= _MESSAGES_MAX:
            self._add_joined()

    def total(self) -> int:
        """Return the sum modulo 2^256."""
        self._add_joined()
        return self._sum % _HASH_MODULUS

    def _add_joined(self) -> None:
        if self._code is not None:
            data = b"".join(self._joined)
            self._sum += self._code.sum_of_hashes(data, self._sizes)
            self._joined, self._sizes = [], array("Q")


def history_digest(key: bytes, count: int, numbers: int, slots: int, values: int) -> int:
    """Return what `count` rows of one script add, from their sums, before reduction."""
    fields = count + _NUMBER * numbers + _SLOT * slots + _VALUE * values
    return int.from_bytes(key, "big") * fields


def add_txids_in_python(sums: Sums, txids: Sequence[bytes]) -> None:
    """Add as `add_txids` does."""
    integer, shift = int.from_bytes, _TXID_SHIFT
    for txid in txids:
        number = integer(txid, "big")
        sums[number >> shift] += number


def add_history_in_python(sums: Sums, flat: Sequence[Any]) -> None:
    """Add the rows of one list as `add_history` does.

    Faster if they are of a few buckets, which stay in the processor's cache.
    """
    integer, shift = int.from_bytes, _SCRIPT_KEY_SHIFT
    values = iter(flat)
    for script, number, slot, value, _ in zip(*[values] * _HISTORY_COLUMNS, strict=True):
        key = integer(script, "big")  # `history_digest`, inlined: three per transaction
        sums[key >> shift] += key * (1 + _NUMBER * number + _SLOT * slot + _VALUE * value)


def sum_of_hashes_in_python(messages: Iterable[bytes]) -> int:
    """Return the sum of the messages' SHA-256, as little-endian numbers."""
    number = int.from_bytes
    return sum([number(sha256(message).digest(), "little") for message in messages])


class CompiledSums:
    """The compiled code; made once, used by any number of threads."""

    def __init__(self, features: Mapping[str, bool] | None = None) -> None:
        """Compile for this processor, or one with fewer features; takes some 25 ms.

        Raises CompiledSumsError, also if the sums of test rows are others than in Python.
        """
        if not _HAS_LLVM or sys.byteorder != "little" or sys.maxsize < 1 << 32:
            raise CompiledSumsError("llvmlite is missing, or the processor is not suitable")
        try:
            self._engine: Any = compiled(DECLARATIONS + CODE, features or host_features())
        except RuntimeError as error:
            raise CompiledSumsError(f"LLVM: {error}") from error
        self._add_history = self._function("add_history", 4)
        self._add_txids = self._function("add_txids", 1)
        self._sum_hashes = self._function("sum_hashes", 2)
        self._check()

    def add_history(self, table: "array[int]", columns: Sequence[bytes]) -> None:
        """Add rows, given as their scripts, numbers, slots and values, the latter as uint64."""
        scripts, *numbers = columns
        count = len(scripts) // SCRIPT_KEY_BYTES
        if {len(column) for column in numbers} != {count * _NUMBER_BYTES}:
            raise ValueError("columns of different lengths")
        self._add_history(_address(table), scripts, *numbers, count)

    def add_txids(self, table: "array[int]", txids: bytes) -> None:
        """Add rows, given as their txids."""
        self._add_txids(_address(table), txids, len(txids) // HASH_BYTES)

    def sum_of_hashes(self, data: bytes, sizes: "array[int]") -> int:
        """Return the sum modulo 2^256 of the hashes of the messages in `data`, from their sizes."""
        if sum(sizes) != len(data):
            raise ValueError("the sizes are not those of the messages")
        total = array("Q", bytes(HASH_BYTES))
        self._sum_hashes(_address(total), data, sizes.tobytes(), len(sizes))
        return int.from_bytes(total, "little")

    def _function(self, name: str, columns: int) -> Any:  # noqa: ANN401 - no types
        """Return a function of a place for results, so many columns, and their length."""
        kinds = (ctypes.c_void_p, *[ctypes.c_char_p] * columns, ctypes.c_int64)
        prototype = ctypes.CFUNCTYPE(None, *kinds)
        return prototype(self._engine.get_function_address(name))

    def _check(self) -> None:
        """Compare sums of test rows with Python's. Raises CompiledSumsError."""
        hashes = [sha256(bytes([index])).digest() for index in range(40)]
        txids = [*hashes, bytes(HASH_BYTES), b"\xff" * HASH_BYTES]
        flat: list[Any] = []
        for txid in txids:
            some = (int.from_bytes(txid[at : at + 8], "little") for at in (8, 16, 24))
            flat += (txid[-SCRIPT_KEY_BYTES:], *some, None)
        columns = _history_columns(flat)
        assert columns is not None, "the numbers have 64 bits"
        messages = [(txid * 6)[: 5 * index] for index, txid in enumerate(txids)]
        table, sums = _new_table(), Sums(int)
        self.add_history(table, [bytes(column) for column in columns])
        self.add_txids(table, b"".join(txids))
        add_history_in_python(sums, flat)
        add_txids_in_python(sums, txids)
        digests = [number % MODULUS for number in table]
        is_same = digests == [sums[bucket] % MODULUS for bucket in range(len(table))]
        total = self.sum_of_hashes(b"".join(messages), array("Q", map(len, messages)))
        if not is_same or total != sum_of_hashes_in_python(messages) % _HASH_MODULUS:
            raise CompiledSumsError("test rows have other sums than in Python")


def _history_columns(flat: Sequence[Any]) -> Sequence["bytes | array[int]"] | None:
    """Return columns of the rows; or None: they do not fit."""
    scripts = flat[::_HISTORY_COLUMNS]
    try:
        numbers = [array("Q", flat[at::_HISTORY_COLUMNS]) for at in (1, 2, 3)]
    except (OverflowError, TypeError):
        return None
    joined = b"".join(scripts)  # first: that brings them into the cache, in no order
    sizes = {len(flat) // _HISTORY_COLUMNS, *map(len, numbers)}
    if sizes != {len(scripts)} or not _have_size(scripts, SCRIPT_KEY_BYTES):
        return None
    return joined, *numbers


def _code_for(rows: int) -> CompiledSums | None:
    return _compiled_or_none() if rows >= _ROWS_MIN else None


def compile_sums() -> None:
    """Compile now what the first sums of many rows would compile."""
    _compiled_or_none()


@lru_cache(maxsize=1)
def _compiled_or_none() -> CompiledSums | None:
    try:
        return CompiledSums()
    except CompiledSumsError as error:
        warnings.warn(f"rows are summed in Python: {error}", stacklevel=4)
        return None


def _new_table() -> "array[int]":
    return array("Q", bytes(_NUMBER_BYTES << _BUCKET_BITS))


def _add_table(sums: Sums, table: "array[int]") -> None:
    for bucket, number in enumerate(table):
        if number:
            sums[bucket] += number


def _have_size(keys: Sequence[bytes], size: int) -> bool:
    return set(map(len, keys)) <= {size}


def _address(column: "array[int]") -> int:
    """Return where a column is; the caller holds it as long as the address is used."""
    return column.buffer_info()[0]
