"""`groat check` and the checks at start: changed data are reported."""

import random
import shutil
import sqlite3

import pytest

from chain.consensus.params import DEVNET
from chain.ledger.errors import DatabaseFailedError, LedgerError, LockedError, WrongNetworkError
from chain.ledger.ledger import Ledger
from chain.ledger.offline.checking import check_ledger
from tests.builders import assemble, coinbase, commit
from tests.ledger.chains import NOW, QUICK, TRUNK, coins_after, feed, grow_busy, quick_chain, url_of

_HEIGHT = TRUNK + 5  # of the tip of `original`
_ROW_FLIPS = 40  # in each table
_FILE_FLIPS = 60
_PARTS = 4  # of the flips, each a test: all of them take long
_TABLES = ("headers", "blocks", "undo", "chain", "transactions", "history", "coins", "meta")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A closed ledger with a stale branch, a header without its block, and an invalid block."""
    folder = tmp_path_factory.mktemp("original")
    stale = quick_chain()
    chain = stale.fork(0)
    grow_busy(stale, 2, seed=1)
    grow_busy(chain, 5, seed=2)
    ledger = Ledger(url_of(folder), QUICK, verify_threads=1)
    feed(ledger, [*stale.blocks, *chain.blocks[TRUNK:]])
    ledger.add_headers([chain.fork(2).add(extra=b"lone").header], NOW)
    bad = assemble(chain.tip, commit([coinbase(1, 0)]))
    with pytest.raises(Exception, match="bad-cb-height"):
        ledger.add_block(bad, NOW)
    ledger.close()
    return folder / "ledger.sqlite", chain


@pytest.fixture
def copy(original, tmp_path):
    shutil.copy(original[0], tmp_path / "ledger.sqlite")
    return tmp_path


def check(folder):
    return check_ledger(url_of(folder), QUICK, verify_threads=1)


def refusal_to_open(folder):
    try:
        Ledger(url_of(folder), QUICK, verify_threads=1).close()
    except LedgerError as error:
        return str(error)
    return ""


def change(folder, statement, *values):
    connection = sqlite3.connect(folder / "ledger.sqlite")
    with connection:
        assert connection.execute(statement, values).rowcount > 0
    connection.close()


def contents(folder):
    connection = sqlite3.connect(folder / "ledger.sqlite")
    found = {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in _TABLES}
    connection.close()
    return found


def test_a_sound_ledger_has_no_problems(original, copy):
    chain = original[1]
    result = check(copy)
    assert result.problems == []
    coins = coins_after(chain.blocks)
    assert (result.height, result.coins) == (_HEIGHT, len(coins))
    assert result.supply == sum(coin.value for coin in coins.values())
    assert result.blocks == _HEIGHT + 2
    assert sorted(path.name for path in copy.iterdir()) == ["ledger.sqlite", "ledger.sqlite.lock"]


def test_a_bad_block_that_was_never_connected_is_no_problem(tmp_path):
    chain = quick_chain(3)
    ledger = Ledger(url_of(tmp_path), QUICK, verify_threads=1)
    feed(ledger, chain.blocks)
    parent = chain.add()
    bad = assemble(chain.tip, commit([coinbase(5, 51 * 10**8)]))  # found out only if connected
    chain.grow(2)
    ledger.add_headers([block.header for block in (*chain.blocks[3:], bad)], NOW)
    feed(ledger, [bad, *chain.blocks[4:], parent])  # all of which wait for the last
    assert ledger.tip.id == chain.tip.id
    assert ledger.tree.is_stored(bad.id)
    ledger.close()
    assert check(tmp_path).problems == []


def test_a_ledger_in_use_of_another_network_or_missing_is_refused(copy, tmp_path):
    ledger = Ledger(url_of(copy), QUICK, verify_threads=1)
    with pytest.raises(LockedError):
        check(copy)
    ledger.close()
    with pytest.raises(WrongNetworkError):
        check_ledger(url_of(copy), DEVNET, verify_threads=1)
    with pytest.raises(LedgerError, match="no ledger"):
        check_ledger("sqlite://", QUICK, verify_threads=1)
    with pytest.raises(LedgerError, match="no ledger"):
        check(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE coins SET value = value + 1 WHERE height = 7", "has value"),
        ("DELETE FROM coins WHERE height = 7", "is missing"),
        (
            "INSERT INTO coins SELECT zeroblob(36), value, script, height, 0 FROM coins LIMIT 1",
            "should not be there",
        ),
        ("UPDATE undo SET raw = x'01' WHERE id = (SELECT id FROM chain WHERE height = 9)", "undo"),
        ("DELETE FROM transactions WHERE number = 7 * 65536", "transaction 0 at height 7"),
        ("UPDATE transactions SET start = start + 1 WHERE number = 7 * 65536", "has start"),
        ("UPDATE history SET value = 1 WHERE number = 7 * 65536", "history"),
        ("UPDATE headers SET height = 8 WHERE height = 7", "has height"),
        ("UPDATE headers SET work = zeroblob(32) WHERE height = 7", "has work"),
        (f"DELETE FROM chain WHERE height = {_HEIGHT}", f"height {_HEIGHT} is missing"),
        ("UPDATE meta SET value = zeroblob(32) WHERE name = 'tip'", "the tip is"),
        ("UPDATE meta SET value = zeroblob(32) WHERE name = 'coins_digest'", "other sums"),
        ("DELETE FROM meta WHERE name = 'tip'", "missing"),
        ("DELETE FROM blocks WHERE id = (SELECT id FROM chain WHERE height = 9)", "status"),
        ("UPDATE headers SET status = 0 WHERE height = 9", "status"),
        (
            "UPDATE blocks SET raw = x'00' WHERE id = (SELECT id FROM chain WHERE height = 0)",
            "0f91",
        ),
        ("DELETE FROM blocks WHERE id = (SELECT id FROM chain WHERE height = 0)", "is missing"),
        ("INSERT INTO blocks VALUES (zeroblob(32), x'00', x'00')", "should not be there"),
    ],
)
def test_a_changed_row_is_told_in_words(copy, statement, told):
    change(copy, statement)
    problems = check(copy).problems
    assert any(told in problem for problem in problems), problems


@pytest.mark.parametrize("part", range(_PARTS))
@pytest.mark.parametrize("table", ["coins", "blocks", "undo"])
def test_any_flipped_bit_in_a_row_is_told(original, tmp_path, table, part):
    source = random.Random(f"{table} {part}")
    for number in range(_ROW_FLIPS // _PARTS):
        folder = tmp_path / str(number)
        folder.mkdir()
        shutil.copy(original[0], folder / "ledger.sqlite")
        flipped = _flip_in_row(folder, table, source)
        assert check(folder).problem_count, f"flip {number}: {flipped}"


def _flip_in_row(folder, table, source):
    connection = sqlite3.connect(folder / "ledger.sqlite")
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    column, key = source.choice(columns), columns[0]
    rows = connection.execute(f"SELECT {key}, {column} FROM {table} ORDER BY {key}").fetchall()
    name, value = source.choice(rows)
    if isinstance(value, int):
        flipped = value ^ 1 << source.randrange(1 if column == "from_coinbase" else 30)
    else:
        bit = source.randrange(len(value) * 8)
        flipped = bytearray(value)
        flipped[bit // 8] ^= 1 << bit % 8
    with connection:
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (flipped, name))
    connection.close()
    return column, name.hex()


@pytest.mark.parametrize("part", range(_PARTS))
def test_any_flipped_bit_of_the_file_is_told_or_harmless(original, tmp_path, part):
    """Only LedgerError is raised, at start and in a check, and no wrong ledger passes the check."""
    source = random.Random(20)
    whole = original[0].read_bytes()
    right = contents(original[0].parent)
    told = 0
    bits = [source.randrange(len(whole) * 8) for _ in range(_FILE_FLIPS)]
    for number, bit in list(enumerate(bits))[part::_PARTS]:
        broken = bytearray(whole)
        broken[bit // 8] ^= 1 << bit % 8
        (tmp_path / "ledger.sqlite").write_bytes(broken)
        try:
            problems = check(tmp_path).problem_count
        except LedgerError:
            problems = 1
        told += bool(problems)
        assert problems or contents(tmp_path) == right, f"flip {number}: bit {bit}"
        assert "\n" not in refusal_to_open(tmp_path)
    assert told >= _FILE_FLIPS // _PARTS // 10  # most pages of so small a ledger are empty


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE coins SET value = value + 1 WHERE height = 7",
        "UPDATE coins SET value = 'much' WHERE height = 7",
        "UPDATE coins SET height = -1 WHERE height = 7",
        "DELETE FROM coins WHERE height = 7",
        "UPDATE headers SET raw = zeroblob(80) WHERE height = 7",
        "UPDATE headers SET raw = 'text' WHERE height = 7",
        "UPDATE headers SET work = zeroblob(32) WHERE height = 7",
        "UPDATE headers SET status = 9 WHERE height = 7",
        "DELETE FROM chain WHERE height = 7",
        f"DELETE FROM chain WHERE height = {_HEIGHT}",
        f"DELETE FROM undo WHERE id = (SELECT id FROM chain WHERE height = {_HEIGHT})",
        f"UPDATE undo SET raw = x'0102' WHERE id = (SELECT id FROM chain WHERE height = {_HEIGHT})",
        f"UPDATE blocks SET raw = x'01' WHERE id = (SELECT id FROM chain WHERE height = {_HEIGHT})",
        f"DELETE FROM blocks WHERE id = (SELECT id FROM chain WHERE height = {_HEIGHT})",
        "UPDATE meta SET value = zeroblob(32) WHERE name = 'tip'",
        "UPDATE meta SET value = 'text' WHERE name = 'tip'",
        "DELETE FROM meta WHERE name = 'coins_count'",
    ],
)
def test_damage_is_found_at_start(copy, statement):
    change(copy, statement)
    with pytest.raises(LedgerError) as caught:
        Ledger(url_of(copy), QUICK, verify_threads=1)
    assert "\n" not in str(caught.value)


def test_a_damaged_block_is_never_served(original, copy):
    block = original[1].blocks[8]
    change(copy, "UPDATE blocks SET raw = substr(raw, 1, 90) WHERE id = ?", block.id)
    ledger = Ledger(url_of(copy), QUICK, verify_threads=1)
    with pytest.raises(DatabaseFailedError, match="is damaged"):
        ledger.blocks([block.id], 0)[0]
