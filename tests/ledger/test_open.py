"""Opening and closing a ledger, and refusals with one clear line."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace

import pytest

from chain.consensus.params import DEVNET, REGTEST, identity_before_scripts, network_identity
from chain.ledger.errors import (
    DamagedError,
    DatabaseFailedError,
    LedgerError,
    LockedError,
    WrongNetworkError,
)
from chain.ledger.ledger import Ledger
from chain.ledger.reader import open_reader
from tests.ledger.chains import NOW, feed, mature_chain, url_of

_OPEN = (
    "import sys; from chain.consensus.params import REGTEST\n"
    "from chain.ledger.ledger import Ledger\n"
    "from chain.ledger.errors import LockedError\n"
    "try: Ledger(sys.argv[1], REGTEST, verify_threads=1)\n"
    "except LockedError as error: print('LOCKED', error)"
)


def test_a_new_ledger_has_genesis_and_no_coins(tmp_path):
    ledger = Ledger(url_of(tmp_path), REGTEST, verify_threads=1)
    assert ledger.tip == ledger.tree.genesis
    assert ledger.tree.is_stored(ledger.tip.id)
    assert ledger.blocks([ledger.tip.id], 0)[0][:80] == ledger.tip.header.encode()
    ledger.close()


def test_a_second_process_is_refused(tmp_path):
    ledger = Ledger(url_of(tmp_path), REGTEST, verify_threads=1)
    command = [sys.executable, "-c", _OPEN, url_of(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert said.startswith("LOCKED another process is using")
    ledger.close()


def test_a_second_process_is_refused_by_another_name_of_the_file_too(tmp_path):
    link = tmp_path / "link.sqlite"
    link.symlink_to("ledger.sqlite")
    first = Ledger(tmp_path / "ledger.sqlite", REGTEST, verify_threads=1)
    with closing(first), pytest.raises(LockedError, match="another process is using"):
        Ledger(link, REGTEST, verify_threads=1)
    Ledger(link, REGTEST, verify_threads=1).close()


def test_a_second_ledger_in_one_process_is_refused_until_the_first_closes(tmp_path):
    ledger = Ledger(url_of(tmp_path), REGTEST, verify_threads=1)
    with pytest.raises(LockedError):
        Ledger(url_of(tmp_path), REGTEST, verify_threads=1)
    ledger.close()
    Ledger(url_of(tmp_path), REGTEST, verify_threads=1).close()


def test_a_ledger_of_another_network_is_refused(tmp_path):
    Ledger(url_of(tmp_path), REGTEST, verify_threads=1).close()
    with pytest.raises(WrongNetworkError, match="of network 'regtest'"):
        Ledger(url_of(tmp_path), DEVNET, verify_threads=1)


def test_a_ledger_of_other_rules_names_them_its_file_and_what_to_do(tmp_path):
    with closing(Ledger(url_of(tmp_path), REGTEST, verify_threads=1)) as ledger:
        ledger._connection.exec_driver_sql("DELETE FROM meta WHERE name = 'rules'")
        ledger._connection.commit()  # as an older release made it
    Ledger(url_of(tmp_path), REGTEST, verify_threads=1).close()
    changed = replace(REGTEST, coinbase_maturity_blocks=7)
    with pytest.raises(WrongNetworkError) as caught:
        Ledger(url_of(tmp_path), changed, verify_threads=1)
    assert str(caught.value) == (
        f"the ledger {tmp_path / 'ledger.sqlite'} was made with other rules of network 'regtest' "
        "(coinbase_maturity_blocks 100, now 7): use the network that it was made with, or choose "
        "another --datadir"
    )


@pytest.mark.parametrize("content", [b"garbage" * 1000, b"SQLite format 3\0" + bytes(84)])
def test_a_garbage_file_is_refused_and_the_lock_released(tmp_path, content):
    (tmp_path / "ledger.sqlite").write_bytes(content)
    for _ in range(2):
        with pytest.raises(DamagedError, match="cannot open the ledger"):
            Ledger(url_of(tmp_path), REGTEST, verify_threads=1)


def test_a_truncated_file_is_refused(tmp_path):
    ledger = Ledger(url_of(tmp_path), REGTEST, verify_threads=1)
    feed(ledger, mature_chain(50).blocks)
    ledger.close()
    file = tmp_path / "ledger.sqlite"
    whole = file.read_bytes()
    for size in range(4096, len(whole), len(whole) // 20):
        file.write_bytes(whole[:size])
        with pytest.raises(LedgerError):
            Ledger(url_of(tmp_path), REGTEST, verify_threads=1)


@pytest.mark.parametrize("url", ["nonsense", "nosuchdialect:///x", "sqlite:////proc/1/x/y.sqlite"])
def test_a_url_that_leads_nowhere_is_refused(url):
    with pytest.raises(LedgerError):
        Ledger(url, REGTEST, verify_threads=1)


def test_a_reader_of_no_ledger_is_refused(tmp_path):
    with pytest.raises(LedgerError, match="no ledger"):
        open_reader(url_of(tmp_path))
    with pytest.raises(LedgerError, match="in memory"):
        open_reader("sqlite://")


def test_everything_is_there_after_a_restart(tmp_path):
    chain = mature_chain(20)
    ledger = Ledger(url_of(tmp_path), REGTEST, verify_threads=1)
    feed(ledger, chain.blocks)
    ledger.add_headers([chain.fork(3).add(extra=b"fork").header], NOW)
    best, count = ledger.tree.best_header.id, len(ledger.tree)
    ledger.close()
    again = Ledger(url_of(tmp_path), REGTEST, verify_threads=1)
    assert again.tip.id == chain.tip.id
    assert (again.tree.best_header.id, len(again.tree)) == (best, count)
    assert again.blocks([chain.tip.id], 0)[0] == chain.blocks[-1].raw
    again.close()


def test_a_database_error_makes_the_ledger_unusable_and_keeps_the_last_block(tmp_path):
    chain = mature_chain(10)
    ledger = Ledger(url_of(tmp_path), REGTEST, verify_threads=1)
    feed(ledger, chain.blocks[:5])
    pages = ledger._connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    ledger._connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    ledger._connection.rollback()
    with pytest.raises(DatabaseFailedError, match="full"):
        feed(ledger, chain.blocks[5:] + chain.grow(100))
    for use in (
        lambda: ledger.add_block(chain.blocks[-1], NOW),
        lambda: ledger.add_headers([], NOW),
        lambda: ledger.blocks([chain.tip.id], 0)[0],
    ):
        with pytest.raises(DatabaseFailedError, match="open it again"):
            use()
    again = Ledger(url_of(tmp_path), REGTEST, verify_threads=1)
    assert 5 <= again.tip.height < len(chain.blocks)
    feed(again, chain.blocks)
    assert again.tip.id == chain.tip.id
    again.close()


def test_a_password_in_the_database_url_is_never_shown():
    with pytest.raises(LedgerError) as caught:
        Ledger("nodriver://user:secret@127.0.0.1/x", REGTEST, verify_threads=1)
    assert "secret" not in str(caught.value)


def test_a_ledger_of_the_time_before_scripts_goes_on_and_forgets_what_was_invalid(tmp_path):
    """A block that was refused for its scripts may be valid now."""
    *blocks, last = mature_chain(3).blocks
    with closing(Ledger(url_of(tmp_path), REGTEST, verify_threads=1)) as ledger:
        feed(ledger, blocks)
        ledger.add_headers([last.header], NOW)
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as sql, sql:
        old = identity_before_scripts(REGTEST)
        sql.execute("UPDATE meta SET value = ? WHERE name = 'identity'", (old,))
        sql.execute("UPDATE headers SET status = 2 WHERE id = ?", (last.id,))
    for _ in range(2):
        with closing(Ledger(url_of(tmp_path), REGTEST, verify_threads=1)) as ledger:
            assert not ledger.tree.is_invalid(last.id)
    with closing(Ledger(url_of(tmp_path), REGTEST, verify_threads=1)) as ledger:
        assert ledger.add_block(last, NOW).is_connected
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as sql:
        [row] = sql.execute("SELECT value FROM meta WHERE name = 'identity'")
    assert row == (network_identity(REGTEST),)
