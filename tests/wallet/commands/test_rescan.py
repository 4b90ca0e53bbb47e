"""`groat-wallet rescan`: the chain's own answer, whatever was kept of earlier looks."""

import json
import sqlite3
from collections import Counter
from contextlib import closing

import pytest

from chain.primitives.numbers import GRAINS_PER_GROAT
from wallet.history.cache import DEPTH
from wallet.keys.account import Keychain

GROAT = GRAINS_PER_GROAT


@pytest.fixture
def folder(cli, account, regtest):
    cli.make()
    regtest.mine(account.script(Keychain.RECEIVE, 0), 60)
    regtest.mine(count=110)
    cli.run("balance")
    return cli.datadir / "regtest" / "wallets" / "default"


def heights(folder):
    with closing(sqlite3.connect(folder / "cache.sqlite")) as sql:
        return [row[0] for row in sql.execute("SELECT height FROM transactions ORDER BY height")]


def test_cache_of_the_first_format_is_not_trusted(cli, folder):
    """It held looks that began at a birthday: 25 of 60 rewards, 1250 instead of 3000."""
    with closing(sqlite3.connect(folder / "cache.sqlite")) as sql, sql:
        sql.execute("DELETE FROM transactions WHERE height < 36")
        sql.execute("PRAGMA user_version = 1")
    assert cli.json("balance")["total"] == 3000 * GROAT
    assert len(heights(folder)) == 60


@pytest.mark.parametrize(
    ("start", "asked"), [("0", 3), ("30", 2), ("36", 2), ("37", 1), ("170", 1)]
)
def test_rescan_asks_again_from_a_height_on(cli, folder, stub, start, asked):
    stub.requests.clear()
    found = cli.json("rescan", "--from", start)
    assert found == {
        "from": int(start),
        "transactions": 60,
        "total": 3000 * GROAT,
        "unit": "grain",
    }
    pages = [path for _, path, _ in stub.requests if "/txs" in path]
    addresses = Counter(path.partition("/txs")[0] for path in pages)  # asked from several threads
    assert max(addresses.values()) == asked + (start == "0")
    assert len(heights(folder)) == 60
    assert "60 transactions found, balance 3000.00000000 GROAT" in cli.run("rescan").stdout


def test_rescan_beyond_the_tip_is_refused(cli, folder):
    assert "above the tip, which is at 170" in cli.error("rescan", "--from", "171", code=2)
    cli.error("rescan", "--from", "-1", code=2)


def test_rescan_forgets_how_far_addresses_were_used_once(cli, folder, regtest, stub, account):
    regtest.mine(account.script(Keychain.CHANGE, 5))
    cli.run("rescan")
    assert json.loads((folder / "state.json").read_text())["used"] == [1, 6]
    stub.chain = regtest.fork(1)
    cli.run("rescan")
    table = json.loads((folder / "state.json").read_text())
    assert table["used"] == [1, 0]
    assert table["handed_out"] == [0, 6], "still looked at"


def test_rescan_keeps_labels_and_frozen_coins(cli, folder):
    coin = cli.json("utxos")[0]
    cli.run("freeze", f"{coin['txid']}:{coin['vout']}")
    cli.run("label", coin["txid"], "first")
    cli.run("rescan")
    (again,) = [each for each in cli.json("utxos") if each["frozen"]]
    assert (again["txid"], again["label"]) == (coin["txid"], "first")


def test_rescan_works_where_no_cache_can_be_written(cli, folder):
    (folder / "cache.sqlite").unlink()
    (folder / "cache.sqlite").mkdir()
    result = cli.run("rescan", "--json")
    assert json.loads(result.stdout)["total"] == 3000 * GROAT
    assert "could not be saved" in result.stderr
    assert DEPTH == 6
