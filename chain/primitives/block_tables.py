"""The tables that compiled code makes of a block's transactions, and the objects made from them.

Objects for all transactions cost more than reading them, so they are made when asked for. The rules
for usual blocks ask for columns instead: see P2wpkhColumns.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import add
from typing import Any, Final

from chain.primitives.numbers import Amount, Hash32, OutPoint
from chain.primitives.script import count_sigops, is_p2wpkh
from chain.primitives.transaction import Transaction, TxIn, TxOut

# A transaction: start, end and size without witnesses; version and lock time; the ends of its
# inputs and outputs in their tables; where its outputs start and end; whether it has witnesses;
# how many of its scripts are not P2WPKH; txid, wtxid, and BIP143's hashPrevouts, hashSequence and
# hashOutputs, zeros without witnesses.
TRANSACTION: Final = struct.Struct("<11I32s32s32s32s32s")
# Outpoint, sequence, where the script starts and ends, the end of its items in their table.
INPUT: Final = struct.Struct("<36s4I")
# Value, where the script starts and ends, its SHA-256.
OUTPUT: Final = struct.Struct("<qII32s")
ITEM: Final = struct.Struct("<II")  # where a witness item starts and ends
WITNESS_ITEMS: Final = 2  # of P2WPKH: signature and key


@dataclass(frozen=True, slots=True)
class P2wpkhColumns:
    """The payments of a block, all transactions except the coinbase, field by field.

    Each input has two witness items and no script; whether it spends P2WPKH is not known here.
    """

    starts: Sequence[int]  # of each payment in the raw block
    ends: Sequence[int]
    versions: Sequence[int]
    lock_times: Sequence[int]
    input_ends: Sequence[int]  # number of inputs up to and with this payment
    output_ends: Sequence[int]
    txids: Sequence[Hash32]
    wtxids: Sequence[Hash32]
    bip143_hashes: Sequence[Sequence[Hash32]]  # three columns: hashPrevouts, hashSequence, ...
    points: Sequence[OutPoint]  # of each input
    sequences: Sequence[int]
    signatures: Sequence[bytes]  # with the hash type
    keys: Sequence[bytes]
    values: Sequence[Amount]  # of each output
    scripts: Sequence[bytes]
    script_hashes: Sequence[Hash32]  # SHA-256
    are_all_p2wpkh: bool  # the outputs' scripts
    sigops: int  # signature operations in them (Bitcoin: GetLegacySigOpCount)

    @property
    def has_one_input_each(self) -> bool:
        """Whether the payments and the inputs are the same in number."""
        return len(self.points) == len(self.txids)


@dataclass(slots=True)
class BlockTables:
    """Packed rows of a block's transactions, at least one, of inputs, outputs and witness items."""

    data: Final[bytes]  # that the offsets are in
    transactions: Final[bytes]
    inputs: Final[bytes]
    outputs: Final[bytes]
    items: Final[bytes]

    @property
    def count(self) -> int:
        """The number of transactions."""
        return len(self.transactions) // TRANSACTION.size

    def base_size(self) -> int:
        """Return the size of all transactions without witnesses."""
        return sum([row[2] for row in TRANSACTION.iter_unpack(self.transactions)])

    def txids(self) -> list[Hash32]:
        """Return the ids of all transactions."""
        return [row[11] for row in TRANSACTION.iter_unpack(self.transactions)]

    def first(self) -> Transaction:
        """Return the first transaction, in a block the coinbase."""
        inputs, outputs, items = self._first_ends()
        rows = (
            self.transactions[: TRANSACTION.size],
            self.inputs[: inputs * INPUT.size],
            self.outputs[: outputs * OUTPUT.size],
            self.items[: items * ITEM.size],
        )
        return BlockTables(self.data, *rows).all()[0]

    def all(self) -> tuple[Transaction, ...]:
        """Return all transactions."""
        data = self.data
        all_items = tuple([data[start:end] for start, end in ITEM.iter_unpack(self.items)])
        read_inputs, first = [], 0
        for point, sequence, start, end, items_end in INPUT.iter_unpack(self.inputs):
            read_inputs.append(TxIn(point, data[start:end], sequence, all_items[first:items_end]))
            first = items_end
        read_outputs, script_hashes = [], []
        for value, start, end, script_hash in OUTPUT.iter_unpack(self.outputs):
            read_outputs.append(TxOut(value, data[start:end]))
            script_hashes.append(script_hash)
        all_inputs, all_outputs = tuple(read_inputs), tuple(read_outputs)
        read, first_input, first_output = [], 0, 0
        for (
            start,
            end,
            base_size,
            version,
            lock_time,
            inputs_end,
            outputs_end,
            outputs_start_at,
            outputs_end_at,
            has_witness,
            others,
            txid,
            wtxid,
            *hashes,
        ) in TRANSACTION.iter_unpack(self.transactions):
            own_inputs = all_inputs[first_input:inputs_end]
            own_outputs = all_outputs[first_output:outputs_end]
            transaction = Transaction(version, own_inputs, own_outputs, lock_time)
            transaction._raw = data[start:end]
            transaction._base_size = base_size
            transaction._outputs_start = outputs_start_at - start
            transaction._outputs_end = outputs_end_at - start
            transaction.script_hashes = script_hashes[first_output:outputs_end]
            if not others:
                transaction._sigops = 0
            transaction._txid, transaction._wtxid = txid, wtxid
            if has_witness:
                prevouts, sequences, outputs_hash = hashes
                transaction.bip143_hashes = prevouts, sequences, outputs_hash
            read.append(transaction)
            first_input, first_output = inputs_end, outputs_end
        return tuple(read)

    def p2wpkh_columns(self) -> P2wpkhColumns | None:
        """Return the columns of all except the first; None without any, or if some are different.

        Every column is made without a loop in Python, or by a short one.
        """
        inputs, outputs, items = self._first_ends()
        if self.count == 1 or outputs * OUTPUT.size == len(self.outputs):
            return None
        data, step = self.data, WITNESS_ITEMS
        input_rows = INPUT.iter_unpack(self.inputs[inputs * INPUT.size :])
        points, sequences, sig_starts, sig_ends, items_ends = zip(*input_rows, strict=True)
        if sig_starts != sig_ends:
            return None
        # This says, too, that all have witnesses, and so BIP143's hashes.
        if items_ends != tuple(range(items + step, items + step * len(points) + 1, step)):
            return None
        output_rows = OUTPUT.iter_unpack(self.outputs[outputs * OUTPUT.size :])
        values, script_starts, script_ends, script_hashes = zip(*output_rows, strict=True)
        scripts = [data[at:end] for at, end in zip(script_starts, script_ends, strict=True)]
        item_rows = ITEM.iter_unpack(self.items[items * ITEM.size :])
        witness = [data[at:end] for at, end in item_rows]
        payments = zip(*TRANSACTION.iter_unpack(self.transactions[TRANSACTION.size :]), strict=True)
        offsets = repeat(-inputs), repeat(-outputs)
        return join_columns(
            payments, (points, sequences), (values, scripts, script_hashes), witness, offsets
        )

    def _first_ends(self) -> tuple[int, int, int]:
        """Return how many inputs, outputs and witness items the first transaction has."""
        row = TRANSACTION.unpack_from(self.transactions)
        inputs, outputs = row[5], row[6]
        items = INPUT.unpack_from(self.inputs, (inputs - 1) * INPUT.size)[4]  # it has an input
        return inputs, outputs, items


def join_columns(
    payments: Iterable[Sequence[Any]],
    inputs: tuple[Sequence[OutPoint], Sequence[int]],
    outputs: tuple[Sequence[Amount], Sequence[bytes], Sequence[Hash32]],
    witness: Sequence[bytes],
    offsets: tuple[Iterable[int], Iterable[int]],
) -> P2wpkhColumns:
    """Return the columns of payments whose forms were checked.

    `payments` are the columns of their table; `offsets`, for each payment, what is to be added to
    the ends of its inputs and of its outputs.
    """
    starts, ends, _, versions, lock_times, input_ends, output_ends, *more = payments
    _, _, _, others, txids, wtxids, *bip143 = more
    values, scripts, script_hashes = outputs
    rest = [script for script in scripts if not is_p2wpkh(script)] if any(others) else []
    return P2wpkhColumns(
        starts=starts,
        ends=ends,
        versions=versions,
        lock_times=lock_times,
        input_ends=list(map(add, input_ends, offsets[0])),
        output_ends=list(map(add, output_ends, offsets[1])),
        txids=txids,
        wtxids=wtxids,
        bip143_hashes=bip143,
        points=inputs[0],
        sequences=inputs[1],
        signatures=witness[::WITNESS_ITEMS],
        keys=witness[1::WITNESS_ITEMS],
        values=values,
        scripts=scripts,
        script_hashes=script_hashes,
        are_all_p2wpkh=not rest,
        sigops=sum(map(count_sigops, rest)),
    )
