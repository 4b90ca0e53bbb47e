"""What a ledger and its reader tell after blocks, reorganisations and an exclusion."""

from chain.ledger.ledger import Ledger
from chain.ledger.reader import open_reader
from chain.primitives.hashes import sha256
from chain.primitives.numbers import outpoint
from tests.ledger.chains import QUICK, TRUNK, feed, grow_busy, quick_chain, tables


def answers_of(url):
    """Return the rows and the reader's answers after blocks, reorganisations and an exclusion."""
    left = quick_chain()
    right = left.fork(0)
    grow_busy(left, 8, seed=1)
    grow_busy(right, 9, seed=2)
    ledger = Ledger(url, QUICK, verify_threads=1)
    feed(ledger, [*left.blocks, *right.blocks[TRUNK:]])
    excluded = ledger.tree.get(right.blocks[TRUNK + 2].id)
    ledger.invalidate(excluded)
    assert ledger.tip.id == left.tip.id
    ledger.reconsider(excluded)
    assert ledger.tip.id == right.tip.id
    rows = tables(ledger)
    ledger.close()
    ledger = Ledger(url, QUICK, verify_threads=1)
    assert ledger.tip.id == right.tip.id, "and it opens again"
    ledger.close()
    reader = open_reader(url)
    try:
        with reader.snapshot() as snapshot:
            return rows, list(answers(snapshot, right))
    finally:
        reader.close()


def answers(snapshot, chain):
    last = chain.blocks[-1]
    yield snapshot.tip_id, snapshot.coin_totals(), snapshot.transaction_count(0, TRUNK + 9)
    yield snapshot.transactions(last.id, 0, 25), snapshot.spent_coins(last.id)
    for block in chain.blocks[TRUNK - 5 :]:
        for tx in block.transactions:
            yield snapshot.find(tx.txid), snapshot.transaction(tx.txid)
            for index, out in enumerate(tx.outputs):
                script_hash = sha256(out.script)
                yield snapshot.history(script_hash, limit=25), snapshot.script_stats(script_hash)
                yield snapshot.script_coins(script_hash, limit=100)
                yield snapshot.spender(outpoint(tx.txid, index))
