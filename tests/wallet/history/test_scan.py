"""Finding the coins: gaps, pages, and a chain that moves meanwhile."""

from contextlib import closing
from itertools import pairwise

import pytest

from chain.consensus.params import REGTEST
from tests.wallet.conftest import ABANDON
from wallet.errors import NodeError
from wallet.esplora import Esplora
from wallet.history.scan import GAP_LIMIT, Start, scan
from wallet.keys.account import Keychain

NOTHING_KNOWN = dict.fromkeys(Keychain, 0)


@pytest.fixture
def esplora(stub):
    client = Esplora(stub.url)
    yield client
    client.close()


def look(account, esplora, known=NOTHING_KNOWN):
    return scan(account, esplora, Start(known), lambda _: None).book


@pytest.mark.parametrize("branch", Keychain)
@pytest.mark.parametrize(("index", "count"), [(0, 1), (19, 20), (20, 0)])
def test_gap_of_19_is_crossed_and_20_ends_the_scan(account, stub, branch, index, count):
    stub.chain.mine(account.script(branch, index))
    with closing(Esplora(stub.url)) as esplora:
        assert look(account, esplora).used()[branch] == count


def test_gaps_of_19_are_crossed_again_and_again(account, esplora, regtest):
    for index in (19, 39, 59):
        regtest.mine(account.script(Keychain.RECEIVE, index))
    book = look(account, esplora)
    assert book.used()[Keychain.RECEIVE] == 60
    assert len(book.coins()) == 3


def test_addresses_known_to_exist_are_looked_at_beyond_any_gap(account, esplora, regtest):
    regtest.mine(account.script(Keychain.RECEIVE, 70))
    assert not look(account, esplora).coins()
    known = {Keychain.RECEIVE: 71, Keychain.CHANGE: 0}
    assert len(look(account, esplora, known).coins()) == 1


def test_empty_account_asks_for_the_gap_only(account, esplora, stub):
    look(account, esplora)
    asked = [path for _, path, _ in stub.requests if path.endswith("/txs")]
    assert len(asked) == len(set(asked)) == 2 * GAP_LIMIT


@pytest.mark.parametrize("count", [24, 25, 26, 50, 51, 80])
def test_every_page_of_a_long_history_is_read(account, esplora, regtest, count):
    regtest.mine(account.script(Keychain.RECEIVE, 0), count)
    assert len(look(account, esplora).history()) == count


def test_unconfirmed_and_confirmed_are_both_found(cli, rich, esplora):
    cli.run("send", rich.address(Keychain.RECEIVE, 4), "1", "--yes")
    lines = look(rich, esplora).history()
    assert [line.height for line in lines] == [None, 1]


@pytest.mark.parametrize("when", ["/scripthash/", "/tip/height"])
def test_block_during_the_scan_is_part_of_the_answer(cli, account, stub, when):
    cli.chain.mine(account.script(Keychain.RECEIVE, 0))
    get, blocks_left = stub.get, [1]

    def get_and_mine(path):
        found = get(path)
        if when in path and blocks_left:
            blocks_left.pop()
            cli.chain.mine(account.script(Keychain.RECEIVE, 0))
        return found

    stub.get = get_and_mine
    with closing(Esplora(stub.url)) as esplora:
        book = look(account, esplora)
    assert book.tip_height == 2
    assert min(line.confirmations for line in book.history()) >= 1
    assert max(line.confirmations for line in book.history()) == 2


@pytest.mark.parametrize(("times", "works"), [(1, True), (2, True), (3, False)])
def test_reorganisation_during_the_scan_starts_it_again(account, esplora, stub, times, works):
    stub.chain.mine(account.script(Keychain.RECEIVE, 0))
    get, turns = stub.get, []

    def get_as_if_replaced(path):
        status, content = get(path)
        if path.endswith("/tip/hash") and len(turns) < 2 * times and len(turns) % 2 == 0:
            content = b"ff" * 32
        if path.endswith("/tip/hash"):
            turns.append(path)
        return status, content

    stub.get = get_as_if_replaced
    if works:
        assert len(look(account, esplora).coins()) == 1
        assert len(turns) == 2 * (times + 1)
    else:
        with pytest.raises(NodeError, match="keeps reorganising"):
            look(account, esplora)


def test_server_that_calls_every_address_used_comes_to_an_end(
    account, esplora, stub, monkeypatch, regtest
):
    regtest.mine(account.script(Keychain.RECEIVE, 0))
    monkeypatch.setattr("wallet.history.scan._ADDRESSES_MAX", 100)
    found = regtest.touching
    everything = next(iter(regtest.confirmed.values()))[0]
    regtest.touching = lambda _: ([], [everything])
    with pytest.raises(NodeError, match="more than 100 addresses"):
        look(account, esplora)
    regtest.touching = found


def test_progress_counts_up(account, esplora, regtest):
    regtest.mine(account.script(Keychain.RECEIVE, 5))
    counts = []
    scan(account, esplora, Start(NOTHING_KNOWN), counts.append)
    assert all(one < two for one, two in pairwise(counts))
    assert counts[-1] == 2 * GAP_LIMIT + 6


def test_deleting_the_state_loses_nothing(cli, rich, stub):
    cli.run("send", rich.address(Keychain.RECEIVE, 4), "1", "--yes")
    cli.chain.mine()
    before = cli.json("history"), cli.json("balance"), cli.json("utxos")
    (cli.datadir / "regtest" / "wallets" / "default" / "state.json").unlink()
    assert (cli.json("history"), cli.json("balance"), cli.json("utxos")) == before


def test_restored_wallet_finds_what_the_first_had(cli, rich, regtest):
    cli.run("send", rich.address(Keychain.RECEIVE, 19), "1", "--yes")
    cli.run("send", rich.address(Keychain.RECEIVE, 38), "2", "--yes")
    regtest.mine()
    done = cli.json("restore", "--no-password", wallet="again", stdin=ABANDON + "\n")
    assert done["transactions"] == len(cli.json("history"))
    assert done["total"] == cli.json("balance", wallet="again")["total"]
    assert cli.json("balance", wallet="again") == cli.json("balance")
    assert REGTEST.name == done["network"]
