"""Servers that page as they like: every transaction is found, and what they hide is told."""

import json
import sqlite3
from contextlib import closing

import pytest

from chain.primitives.hashes import sha256
from chain.primitives.numbers import GRAINS_PER_GROAT
from chain.primitives.transaction import TxOut
from tests.builders import KEY, spend
from tests.wallet.conftest import ABANDON
from wallet.esplora import Esplora
from wallet.keys.account import Keychain

GROAT = GRAINS_PER_GROAT
PAGES = [5, 10, 25, 50]


def pay_unconfirmed(regtest, script, count):
    """Pay to a script in `count` payments from the coins of the first blocks; they wait."""
    for height in range(1, count + 1):
        coin = regtest.builder.coinbase_coin(height)
        regtest.accept(spend([coin], [TxOut(GROAT, script), TxOut(48 * GROAT, KEY.script)]))


@pytest.fixture
def miner(cli, regtest):
    """A wallet with 40 rewards of 50 and three unconfirmed payments of 1, on its first address."""
    script = cli.make().script(Keychain.RECEIVE, 0)
    regtest.mine(count=3)
    regtest.mine(script, 40)
    regtest.mine(count=100)
    pay_unconfirmed(regtest, script, 3)
    return script


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("is_shared", [False, True])
def test_every_transaction_is_found_whatever_the_page_size(cli, miner, stub, page, is_shared):
    stub.page, stub.has_shared_budget = page, is_shared
    for _ in range(2):  # the second time out of the cache
        result = cli.run("balance", "--json")
        assert json.loads(result.stdout)["total"] == 2003 * GROAT
        assert result.stderr == ""


@pytest.mark.parametrize("waiting", [4, 5, 6])
def test_page_full_of_unconfirmed_ones_does_not_hide_the_chain(regtest, stub, account, waiting):
    script = account.script(Keychain.RECEIVE, 0)
    stub.page, stub.has_shared_budget = 5, True
    regtest.mine(count=6)
    regtest.mine(script, 7)
    regtest.mine(count=100)
    pay_unconfirmed(regtest, script, waiting)
    with closing(Esplora(stub.url)) as esplora:
        seen = esplora.history(script)
    assert sum(each.height is not None for each in seen) == 7


def test_mempool_beyond_a_shared_page_is_asked_for(cli, regtest, stub):
    script = cli.make().script(Keychain.RECEIVE, 0)
    stub.page, stub.has_shared_budget = 5, True
    regtest.mine(count=106)
    pay_unconfirmed(regtest, script, 6)
    result = cli.run("balance", "--json")
    assert json.loads(result.stdout)["untrusted_pending"] == 6 * GROAT
    assert result.stderr == ""


@pytest.mark.parametrize(("counted", "is_warned"), [(39, True), (40, False), (41, True)])
def test_server_that_counts_other_numbers_than_it_shows_is_told(
    cli, miner, stub, counted, is_warned
):
    path = f"/api/scripthash/{sha256(miner).hex()}"
    counts = {"chain_stats": {"tx_count": counted}, "mempool_stats": {"tx_count": 3}}
    stub.override[path] = (200, json.dumps(counts).encode())
    result = cli.run("balance", "--json")
    assert json.loads(result.stdout)["total"] == 2003 * GROAT
    assert ("shows 40 transactions of bcrt1q" in result.stderr) == is_warned
    assert (f"and counts {counted}" in result.stderr) == is_warned
    stub.override.clear()
    assert cli.run("balance").stderr == "", "nothing of the doubtful look was kept"


def test_server_without_counts_is_believed(cli, miner, stub):
    stub.lacks.add("counts")
    result = cli.run("balance", "--json")
    assert json.loads(result.stdout)["total"] == 2003 * GROAT
    assert result.stderr == ""


def test_birthday_is_not_trusted_where_nothing_is_counted(cli, regtest, stub, account):
    stub.lacks.add("counts")
    regtest.mine(account.script(Keychain.RECEIVE, 0), 60)
    words = ("restore", "--no-password", "--birthday", "50")
    assert cli.json(*words, stdin=ABANDON)["transactions"] == 60


@pytest.mark.parametrize("damage", ["DELETE FROM transactions", "UPDATE scripts SET complete_to=9"])
def test_cache_that_lacks_something_is_found_out(cli, miner, damage):
    cli.run("balance")
    path = cli.datadir / "regtest" / "wallets" / "default" / "cache.sqlite"
    with closing(sqlite3.connect(path)) as sql, sql:
        sql.execute(damage)
    assert cli.json("balance")["total"] == 2003 * GROAT
    assert cli.json("balance")["total"] == 2003 * GROAT


def test_block_between_a_page_and_its_count_is_no_difference(cli, miner, stub, regtest):
    get, blocks = stub.get, [1, 1]

    def get_behind_a_block(path):
        if path == f"/api/scripthash/{sha256(miner).hex()}" and blocks:
            blocks.pop()
            regtest.mine(miner)
        return get(path)

    cli.run("balance")
    stub.get = get_behind_a_block
    result = cli.run("balance", "--json")
    assert not blocks
    assert json.loads(result.stdout)["total"] == 2106 * GROAT, "with three fees of 1"
    assert result.stderr == ""


@pytest.mark.parametrize(("counted", "is_warned"), [(2, False), (3, False), (4, True)])
def test_mempool_that_is_shown_in_part_is_told(cli, miner, stub, counted, is_warned):
    counts = {"chain_stats": {"tx_count": 40}, "mempool_stats": {"tx_count": counted}}
    stub.override[f"/api/scripthash/{sha256(miner).hex()}"] = (200, json.dumps(counts).encode())
    for _ in range(2):
        result = cli.run("balance", "--json")
        assert json.loads(result.stdout)["total"] == 2003 * GROAT
        assert ("shows 3 transactions of bcrt1q" in result.stderr) == is_warned
    asked = sum("/txs/chain" in path for _, path, _ in stub.requests)
    assert asked == 2, "what is deep was kept all the same"
