"""Chains with payments, a plain computation of their coins, and the content of a ledger."""

import os
import random
from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from chain.consensus.block_validation import created_coins
from chain.consensus.coin import Coin
from chain.consensus.entry import BlockTreeEntry
from chain.consensus.params import REGTEST
from chain.ledger.db.engine import read_rows
from chain.ledger.ledger import Ledger
from chain.ledger.outcomes import Verdict
from chain.ledger.pipeline import Clock
from chain.primitives import block as block_module
from chain.primitives.block import Block, decode_block
from chain.primitives.numbers import Amount, OutPoint
from chain.primitives.script import op_return
from chain.primitives.transaction import Transaction, TxOut
from tests.builders import ChainBuilder, Key, output_of, pay, spend

NOW = 1 << 31  # after every header's time
FEE = 1_000
# Regtest but for one rule: what holds behind 101 blocks holds behind eleven, in a tenth of the time
QUICK = replace(REGTEST, coinbase_maturity_blocks=10)
TRUNK = QUICK.coinbase_maturity_blocks + 1  # blocks on which one coinbase coin can be spent
KEYS = {key.script: key for key in map(Key, range(1, 5))}
if "GROAT_COMPILED_BLOCKS" in os.environ:  # .ci/run: columns for any block, and for runs of them

    def _from_bytes(
        ledger: Ledger, blocks: Iterable[Block], now: int | Clock, *, pipelined: bool = True
    ) -> Generator[Verdict]:
        """Add blocks with tables, as if they were read: those of the tests are made of objects."""
        return _ADD_BLOCKS(ledger, map(_with_tables, blocks), now, pipelined=pipelined)

    def _with_tables(block: Block) -> Block:
        block._tables = decode_block(block.raw)._tables
        return block

    _ADD_BLOCKS = Ledger.add_blocks
    Ledger.add_blocks = _from_bytes  # type: ignore[method-assign]
    block_module._COLUMNS_MIN = 1
_TABLES = {
    "chain": "SELECT height, id, tx_count FROM chain ORDER BY height",
    "undo": "SELECT id, raw, checksum FROM undo ORDER BY id",
    "coins": "SELECT * FROM coins ORDER BY point",
    "transactions": "SELECT * FROM transactions ORDER BY number",
    "history": "SELECT * FROM history ORDER BY script, number, slot",
    "index_digests": "SELECT * FROM index_digests ORDER BY kind, shelf",
    "meta": "SELECT name, value FROM meta ORDER BY name",
}


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder / 'ledger.sqlite'}"


def memory_ledger(threads: int = 1) -> Ledger:
    return Ledger("sqlite://", REGTEST, verify_threads=threads)


def quick_ledger(threads: int = 1) -> Ledger:
    """A ledger in memory for chains of QUICK."""
    return Ledger("sqlite://", QUICK, verify_threads=threads)


def feed(ledger: Ledger, blocks: Iterable[Block]) -> None:
    for block in blocks:
        ledger.add_block(block, NOW)


def entry_of(ledger: Ledger, block: Block) -> BlockTreeEntry:
    entry = ledger.tree.get(block.id)
    assert entry is not None
    return entry


def tables(ledger: Ledger) -> dict[str, list[Any]]:
    """All tables that follow from the best chain, as rows."""
    with ledger._reading():
        return {name: read_rows(ledger._connection, query) for name, query in _TABLES.items()}


def coins_after(blocks: Sequence[Block]) -> dict[OutPoint, Coin]:
    """The coins after blocks 1, 2, ..., computed in the plainest way."""
    coins: dict[OutPoint, Coin] = {}
    for height, block in enumerate(blocks, 1):
        for tx in block.transactions:
            for txin in tx.inputs:
                coins.pop(txin.outpoint, None)
            coins.update(created_coins(tx, height))
    return coins


def mature_chain(blocks: int = 101) -> ChainBuilder:
    builder = ChainBuilder()
    builder.grow(blocks)
    return builder


def quick_chain(blocks: int = TRUNK) -> ChainBuilder:
    """A chain of QUICK, long enough to spend from."""
    builder = ChainBuilder(QUICK)
    builder.grow(blocks)
    return builder


def reorganised_ledger(folder: Path, busy: int) -> tuple[Ledger, ChainBuilder, ChainBuilder]:
    """A ledger whose best chain has `busy` blocks with much traffic, with that and its old chain.

    The old chain is three blocks longer than what they share, the 101 first.
    """
    stale = mature_chain(101)
    chain = stale.fork(0)
    grow_busy(stale, 3, seed=5)
    grow_busy(chain, busy, seed=6)
    ledger = Ledger(url_of(folder), REGTEST, verify_threads=1)
    feed(ledger, [*stale.blocks, *chain.blocks[101:]])
    return ledger, chain, stale


def grow_busy(builder: ChainBuilder, count: int, seed: int) -> list[Block]:
    """Add blocks whose transactions spend old coins and each other's; some have data outputs."""
    source = random.Random(seed)
    return [_busy_block(builder, source) for _ in range(count)]


def _busy_block(builder: ChainBuilder, source: random.Random) -> Block:
    height = builder.tip.height + 1
    maturity = builder.params.coinbase_maturity_blocks
    spendable = {
        point: coin
        for point, coin in coins_after(builder.blocks).items()
        if coin.script in KEYS
        and coin.value > 10 * FEE
        and (not coin.from_coinbase or height - coin.height >= maturity)
    }
    transactions: list[Transaction] = []
    for _ in range(source.randrange(4)):
        if not spendable:
            break
        point = source.choice(sorted(spendable))
        coin = spendable.pop(point)
        tx = _payment(point, coin, source)
        transactions.append(tx)
        if source.random() < 0.5:  # a child may spend it in the same block
            out = tx.outputs[0]
            spendable[output_of(tx)] = Coin(out.value, out.script, height, from_coinbase=False)
    extra = source.randbytes(8)
    script = source.choice(sorted(KEYS))
    return builder.add(transactions, fees=FEE * len(transactions), extra=extra, script=script)


def _payment(point: OutPoint, coin: Coin, source: random.Random) -> Transaction:
    first = source.randrange(1, coin.value - FEE)
    outputs = [
        pay(first, source.choice(list(KEYS.values()))),
        pay(coin.value - FEE - first, source.choice(list(KEYS.values()))),
    ]
    if source.random() < 0.3:
        outputs.append(TxOut(Amount(0), op_return(b"data")))
    if source.random() < 0.2:
        outputs.append(TxOut(Amount(0), b"\x51"))  # a coin that groat cannot spend
    return spend([(point, coin)], outputs, key=KEYS[coin.script])


def bad_spend(builder: ChainBuilder, height: int = 1) -> Transaction:
    """A payment from the coinbase at `height` with a signature for another amount."""
    point, coin = builder.coinbase_coin(height)
    forged = Coin(Amount(coin.value - 1), coin.script, coin.height, from_coinbase=True)
    return spend([(point, forged)], [pay(coin.value - FEE)])
