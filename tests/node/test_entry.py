"""What an entry knows of itself, and how well its memory is estimated."""

import gc
import tracemalloc

import pytest

from chain.consensus.coin import Coin
from chain.node.entry import PoolEntry, usage_bytes
from chain.node.packages import attach
from chain.node.pool import Pool
from chain.primitives.hashes import sha256d
from chain.primitives.numbers import Amount, Hash32, Height, OutPoint, outpoint
from chain.primitives.script import p2wpkh_script
from chain.primitives.transaction import Transaction, TxIn, TxOut, decode_transaction

COUNT = 300


def transaction(number: int, inputs: int, outputs: int) -> bytes:
    """Return the bytes of a transaction like real ones: every id, key and script is another."""
    seed = sha256d(b"%d" % number)
    witness = (seed * 2 + seed[:7], seed + b"\x02")
    spends = [TxIn(outpoint(sha256d(seed + b"%d" % i), 1), witness=witness) for i in range(inputs)]
    pays = [
        TxOut(Amount(1000), p2wpkh_script(sha256d(b"%d" % i + seed)[:20])) for i in range(outputs)
    ]
    return Transaction(2, spends, pays).raw


def pooled(raw: bytes) -> PoolEntry:
    """Decode and make an entry, with coins of its own, as from the ledger and the wire."""
    tx = decode_transaction(raw)
    coins = tuple(
        Coin(Amount(5000), p2wpkh_script(sha256d(OutPoint(txin.outpoint))[:20]), Height(9), False)
        for txin in tx.inputs
    )
    return PoolEntry(tx, coins, Amount(1000), time=1, height=1)


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (1, 2), (2, 2), (20, 1), (1, 60)])
def test_memory_is_estimated_within_a_third_and_rather_high_than_low(inputs, outputs):
    raws = [transaction(number, inputs, outputs) for number in range(COUNT)]
    pool = Pool()
    gc.collect()
    tracemalloc.start()
    for raw in raws:
        attach(pool, pooled(bytes(bytearray(raw))), {})
    gc.collect()
    measured, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert measured <= pool.usage_bytes <= measured * 4 / 3, measured / COUNT


def test_the_estimate_depends_on_the_transaction_alone():
    raw = transaction(1, 2, 3)
    assert pooled(raw).usage_bytes == usage_bytes(decode_transaction(raw))


def test_an_entry_is_found_by_the_hash_of_each_script():
    entry = pooled(transaction(1, 1, 2))
    pool = Pool()
    attach(pool, entry, {})
    scripts = [entry.coins[0].script, *(out.script for out in entry.transaction.outputs)]
    assert len(set(scripts)) == 3
    for script in scripts:
        assert pool.by_script(script) == [entry]
    assert pool.by_script_hash(Hash32(bytes(32))) == []
