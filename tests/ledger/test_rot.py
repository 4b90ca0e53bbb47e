"""Rot: for any flipped bit of the file, each read is right or reports damage.

A ledger is flipped one bit at a time, opened, and read to the last row, as a node's API would.
"""

import io
import random
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import pytest
from sqlalchemy.exc import SQLAlchemyError

from chain.consensus.params import REGTEST
from chain.ledger.db.failures import read_failure
from chain.ledger.errors import DamagedError, LedgerError
from chain.ledger.ledger import Ledger
from chain.ledger.offline.checking import check_ledger
from chain.ledger.offline.exporting import export_blocks
from chain.ledger.reader import open_reader
from chain.primitives.hashes import sha256
from chain.primitives.numbers import outpoint
from tests.ledger.chains import KEYS, coins_after, feed, grow_busy, mature_chain, url_of

BLOCKS = 300
HELD = 20  # the headers below are in columns
FLIPS_MANY = 1_000
READ_S_MAX = 120.0  # of one snapshot; whatever else the machine does
CHECK_EVERY = 50  # flips after which `groat check` looks, too
SCRIPTS = [*KEYS, b"\x51", b"\x00\x14" + bytes(20)]
Reads = dict[str, Callable[[object], object]]


@dataclass
class Original:
    """A ledger on disk, and the queries and results of a reader."""

    file: object
    reads: Reads
    answers: dict[str, object]
    exported: bytes
    pages: list[int]  # the roots of its trees, page 1 first


def make(folder, blocks: int, *, sparse: bool = False) -> Original:
    stale = mature_chain(101)
    chain = stale.fork(0)
    grow_busy(stale, 3, seed=5)
    grow_busy(chain, blocks - 101, seed=6)
    ledger = Ledger(url_of(folder), REGTEST, verify_threads=1, held_blocks=HELD)
    feed(ledger, [*stale.blocks, *chain.blocks[101:]])
    ledger.close()
    reads = dict(everything(chain, stale, step=25 if sparse else 1))
    reader = open_reader(url_of(folder), seconds_max=READ_S_MAX)
    with reader.snapshot() as view:
        answers = {name: read(view) for name, read in reads.items()}
    exported = io.BytesIO()
    export_blocks(reader, REGTEST, exported)
    reader.close()
    for script in SCRIPTS:  # the answers are the chain's, by another way
        coins = dict(answers[f"coins of {script.hex()}"])
        assert coins == {p: c for p, c in coins_after(chain.blocks).items() if c.script == script}
    with sqlite3.connect(folder / "ledger.sqlite") as database:
        roots = "SELECT rootpage FROM sqlite_master WHERE rootpage > 0"
        pages = [1, *(page for (page,) in database.execute(roots))]
    database.close()
    return Original(folder / "ledger.sqlite", reads, answers, exported.getvalue(), pages)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return make(tmp_path_factory.mktemp("small"), 107, sparse=True)


def everything(chain, stale, step: int) -> Iterator[tuple[str, Callable[[object], object]]]:
    """Yield all queries, by name; of the first hundred blocks, one in `step`."""
    yield "tip", lambda view: (view.tip_id, view.tip_height)
    yield "coins", lambda view: view.coin_totals()
    yield "count", lambda view: view.transaction_count(1, len(chain.blocks))
    for height, block in enumerate([*chain.blocks, *stale.blocks[101:]], 1):
        if height < 100 and height % step:
            continue
        yield f"id {height}", lambda view, height=height: view.block_id(height)
        yield f"height {height}", lambda view, block=block: view.height_of(block.id)
        yield f"block {height}", lambda view, block=block: view.block(block.id)
        yield f"spent {height}", lambda view, block=block: view.spent_coins(block.id)
        yield f"page {height}", lambda view, block=block: view.transactions(block.id, 0, 25)
        yield f"last {height}", partial(last_of_page, block)
        for tx in block.transactions:
            name = tx.txid.hex()
            yield f"find {name}", lambda view, tx=tx: view.find(tx.txid)
            yield f"tx {name}", lambda view, tx=tx: raw(view.transaction(tx.txid))
            for index in range(len(tx.outputs)):
                point = outpoint(tx.txid, index)
                yield f"coin {name}:{index}", lambda view, point=point: view.coin(point)
                yield f"spender {name}:{index}", lambda view, point=point: view.spender(point)
    for script in SCRIPTS:
        name, key = script.hex(), sha256(script)
        yield f"stats of {name}", lambda view, key=key: view.script_stats(key)
        yield f"coins of {name}", lambda view, key=key: view.script_coins(key, limit=10_000)
        yield f"history of {name}", partial(whole_history, key)
        yield f"transactions of {name}", partial(read_history, key)
        yield f"bytes of {name}", partial(read_history_bytes, key)


def last_of_page(block, view):
    return raw(view.transactions(block.id, len(block.transactions) - 1, 1)[0][0])


def raw(transaction):
    return transaction and transaction.raw


def whole_history(key, view):
    found, before = [], None
    while page := view.history(key, before=before, limit=25):
        found += page
        before = (page[-1].height, page[-1].position)
    return found


def read_history(key, view):
    found = view.read(whole_history(key, view))
    return [(one.location, one.transaction.raw, one.coins) for one in found]


def read_history_bytes(key, view):
    found = view.read_bytes(whole_history(key, view))
    return [(one.location, one.raw, one.coins) for one in found]


def flipped(original: Original, bit: int) -> bytes:
    data = bytearray(original.file.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    return bytes(data)


def reported(error: LedgerError) -> str:
    assert "\n" not in str(error)
    return "reported"


def outcomes(original: Original, folder) -> set[str]:
    """Open and read a ledger completely; return the outcome. A wrong result fails the test."""
    try:
        ledger = Ledger(url_of(folder), REGTEST, verify_threads=1, held_blocks=HELD)
    except LedgerError as error:
        return {reported(error)}
    try:
        assert ledger.tip.id == original.answers["tip"][0]
        if ledger.check is not None:
            ledger.check.result.result()
        reader = open_reader(url_of(folder), seconds_max=READ_S_MAX)
    except LedgerError as error:
        ledger.close()
        return {reported(error)}
    try:
        return {*read_all(original, reader), export(original, reader)}
    except LedgerError as error:
        return {reported(error)}
    finally:
        reader.close()
        ledger.close()


def read_all(original: Original, reader) -> set[str]:
    seen = set()
    with reader.snapshot() as view:
        for name, read in original.reads.items():
            try:
                answer = read(view)
            except (DamagedError, SQLAlchemyError) as error:  # as `reader.snapshot` tells it
                failure = (
                    error
                    if isinstance(error, DamagedError)
                    else read_failure(reader._engine, error)
                )
                assert isinstance(failure, DamagedError), failure
                seen.add(reported(failure))
            else:
                assert answer == original.answers[name], name
                seen.add("right")
    return seen


def export(original: Original, reader) -> str:
    stream = io.BytesIO()
    try:
        export_blocks(reader, REGTEST, stream)
    except LedgerError as error:
        return reported(error)
    assert stream.getvalue() == original.exported
    return "right"


def flip_and_read(original: Original, folder, bit: int) -> set[str]:
    (folder / "ledger.sqlite").write_bytes(flipped(original, bit))
    for path in folder.glob("ledger.sqlite-*"):
        path.unlink()
    try:
        return outcomes(original, folder)
    except BaseException as error:
        error.add_note(f"bit {bit}: byte {bit // 8 % 4096} of page {bit // 8 // 4096 + 1}")
        raise


def chosen_bits(original: Original, source: random.Random) -> list[int]:
    """Return bits in the file's header, in the schema's text, and at the root of each tree."""
    data = original.file.read_bytes()
    schema = data.index(b"CREATE TABLE", 100)
    bits = [8 * source.randrange(100) + source.randrange(8) for _ in range(4)]
    bits += [8 * source.randrange(schema, 4096) + source.randrange(8) for _ in range(4)]
    for page in original.pages:
        bits.append(8 * ((page - 1) * 4096 + source.randrange(64)) + source.randrange(8))
    return bits


def test_no_flipped_bit_makes_an_answer_wrong(small, tmp_path):
    source = random.Random(13)
    bits = chosen_bits(small, source)
    bits += [source.randrange(8 * small.file.stat().st_size) for _ in range(30 - len(bits))]
    seen = [flip_and_read(small, tmp_path, bit) for bit in bits]
    assert {"reported"} in seen, "some are found"
    assert {"right"} in seen, "some do no harm"


@pytest.mark.slow
def test_no_flipped_bit_of_a_thousand_makes_an_answer_wrong(tmp_path):
    original = make(tmp_path, BLOCKS)
    folder = tmp_path / "flipped"
    folder.mkdir()
    source = random.Random(29)
    found = 0
    for number in range(FLIPS_MANY):
        bit = source.randrange(8 * original.file.stat().st_size)
        found += "reported" in flip_and_read(original, folder, bit)
        if number % CHECK_EVERY == 0:
            (folder / "ledger.sqlite").write_bytes(flipped(original, bit))
            try:
                check_ledger(url_of(folder), REGTEST, verify_threads=1)
            except LedgerError as error:
                reported(error)
    assert found > FLIPS_MANY // 4
