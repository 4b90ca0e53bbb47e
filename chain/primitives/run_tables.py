"""The columns of small blocks that follow each other, read together from their tables.

Most of what Python does for a block with few transactions is the same for any number of them. So
the rules for such blocks ask for the columns of a whole run of them: see block_run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Final

from chain.primitives.block_tables import (
    INPUT,
    ITEM,
    OUTPUT,
    TRANSACTION,
    WITNESS_ITEMS,
    BlockTables,
    P2wpkhColumns,
    join_columns,
)
from chain.primitives.numbers import NULL_OUTPOINT, Amount, Hash32


@dataclass(slots=True)
class CoinbaseRow:
    """A coinbase with one witness item."""

    start: Final[int]  # in the raw block
    end: Final[int]
    lock_time: Final[int]
    txid: Final[Hash32]
    wtxid: Final[Hash32]
    script_sig: Final[bytes]
    witness_item: Final[bytes]
    outputs: Final[list[tuple[Amount, bytes, Hash32]]]  # value, script, and its SHA-256


@dataclass(slots=True)
class RunColumns:
    """The transactions of blocks that follow each other."""

    coinbases: Final[list[CoinbaseRow]]
    payments: Final[P2wpkhColumns]  # of all blocks
    payment_ends: Final[list[int]]  # number of payments up to and with each block


class _Rows:
    """Rows of all blocks so far."""

    def __init__(self) -> None:
        self.coinbases: list[CoinbaseRow] = []
        self.payments: list[tuple[Any, ...]] = []
        self.inputs: list[tuple[Any, ...]] = []
        self.outputs: list[tuple[Amount, bytes, Hash32]] = []
        self.witness: list[bytes] = []
        self.input_offsets: list[int] = []  # for each payment, what to add to its `inputs_end`
        self.output_offsets: list[int] = []
        self.payment_ends: list[int] = []

    def add(self, block: BlockTables) -> bool:
        """Add a block; return whether it has the usual form."""
        data = block.data
        coinbase, *payments = TRANSACTION.iter_unpack(block.transactions)
        coinbase_input, *inputs = INPUT.iter_unpack(block.inputs)
        items = [data[start:end] for start, end in ITEM.iter_unpack(block.items)]
        outputs = [
            (value, data[start:end], script_hash)
            for value, start, end, script_hash in OUTPUT.iter_unpack(block.outputs)
        ]
        point, _, script_start, script_end, items_end = coinbase_input
        start, end, _, _, lock_time, inputs_end, outputs_end, *_, txid, wtxid, _, _, _ = coinbase
        if point != NULL_OUTPOINT or inputs_end != 1 or items_end != 1:
            return False
        script_sig = data[script_start:script_end]
        own_outputs = outputs[:outputs_end]
        self.coinbases.append(
            CoinbaseRow(start, end, lock_time, txid, wtxid, script_sig, items[0], own_outputs)
        )
        if payments:
            if not _are_like_p2wpkh(inputs, len(items)):
                return False
            self.input_offsets += repeat(len(self.inputs) - 1, len(payments))
            self.output_offsets += repeat(len(self.outputs) - outputs_end, len(payments))
            self.payments += payments
            self.inputs += inputs
            self.outputs += outputs[outputs_end:]
            self.witness += items[1:]
        self.payment_ends.append(len(self.payments))
        return True

    def columns(self) -> P2wpkhColumns:
        """Return the columns of the payments."""
        points, sequences, _, _, _ = _transposed(self.inputs, 5)
        values, scripts, script_hashes = _transposed(self.outputs, 3)
        return join_columns(
            _transposed(self.payments, 16),
            (points, sequences),
            (values, scripts, script_hashes),
            self.witness,
            (self.input_offsets, self.output_offsets),
        )


def read_run(blocks: Sequence[BlockTables | None]) -> RunColumns | None:
    """Return the columns; None if a block has no tables, or a form that is not usual.

    Usual is a coinbase with one witness item, and payments that spend like P2WPKH.
    """
    rows = _Rows()
    if not all(block is not None and rows.add(block) for block in blocks):
        return None
    return RunColumns(rows.coinbases, rows.columns(), rows.payment_ends)


def _are_like_p2wpkh(inputs: Sequence[tuple[Any, ...]], items_end: int) -> bool:
    """Return whether the inputs behind the coinbase's have no script, and two items each."""
    ends = range(1 + WITNESS_ITEMS, items_end + 1, WITNESS_ITEMS)
    return [row[4] for row in inputs] == list(ends) and all(row[2] == row[3] for row in inputs)


def _transposed(rows: Sequence[tuple[Any, ...]], width: int) -> list[tuple[Any, ...]]:
    return list(zip(*rows, strict=True)) or [()] * width
