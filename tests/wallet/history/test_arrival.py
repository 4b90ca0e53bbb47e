"""The order of the history: by block, place in it, and arrival; never by id."""

import json

import pytest

from chain.primitives.numbers import GRAINS_PER_GROAT, Amount, Hash32, Height, id_text, outpoint
from chain.primitives.transaction import Transaction, TxIn, TxOut
from tests.builders import KEY, spend
from tests.wallet.conftest import ABANDON
from wallet.esplora_shapes import SeenTransaction
from wallet.history.arrival import arrival_order
from wallet.keys.account import Keychain

GROAT = GRAINS_PER_GROAT
STRANGER = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"


def transaction(number, *parents):
    points = [outpoint(each.txid, 0) for each in parents] or [outpoint(Hash32(bytes(32)), number)]
    return Transaction(2, [TxIn(point) for point in points], [TxOut(Amount(number), KEY.script)])


def seen(tx, height=None, position=None):
    return SeenTransaction(tx, None if height is None else Height(height), height, position)


def unasked(txids):
    raise AssertionError(f"nothing has to be asked about {len(txids)}")


def order(entries, numbers=None, positions=unasked):
    found = arrival_order(entries, numbers or {}, positions)
    return [each.transaction.outputs[0].value for each in found]


def test_higher_blocks_come_later_and_what_waits_last():
    entries = [seen(transaction(1)), seen(transaction(2), 9), seen(transaction(3), 8)]
    assert order(entries) == [3, 2, 1]


@pytest.mark.parametrize("height", [None, 7])
def test_payment_stands_behind_what_it_spends(height):
    first = transaction(1)
    second = transaction(2, first)
    third = transaction(3, first, second)
    entries = [seen(each, height) for each in (third, second, first)]
    assert order(entries) == [1, 2, 3]


def test_place_in_the_block_decides_and_is_asked_for_once():
    entries = [seen(transaction(number), 7) for number in (1, 2, 3)]
    places = {entries[0].transaction.txid: 5, entries[1].transaction.txid: 2}
    places[entries[2].transaction.txid] = 9
    assert order(entries, positions=lambda txids: [places[each] for each in txids]) == [2, 1, 3]
    known = [seen(transaction(number), 7, place) for number, place in ((1, 5), (2, 2), (3, 9))]
    assert order(known) == [2, 1, 3]


@pytest.mark.parametrize("places", [[None, None, None], [2, None, 1]])
def test_without_all_places_the_servers_order_stands(places):
    entries = [seen(transaction(number), 7) for number in (3, 1, 2)]
    assert order(entries, positions=lambda _: places) == [3, 1, 2]


def test_what_the_wallet_saw_first_comes_first_while_it_waits():
    entries = [seen(transaction(number)) for number in (1, 2, 3, 4)]
    numbers = {entries[2].transaction.txid: 1, entries[0].transaction.txid: 2}
    assert order(entries, numbers) == [3, 1, 2, 4]


@pytest.mark.parametrize(("most", "asked"), [(5, 4), (4, 4), (3, 2), (1, 0)])
def test_places_are_asked_for_of_the_newest_blocks_only(monkeypatch, most, asked):
    monkeypatch.setattr("wallet.history.arrival._POSITIONS_MAX", most)
    entries = [seen(transaction(number), 7 + number // 3) for number in (1, 2, 3, 4)]
    heights = {each.transaction.txid: each.height for each in entries}
    times = []

    def positions(txids):
        times.extend(heights[each] for each in txids)
        return range(len(txids))

    order(entries, positions=positions)
    assert times == sorted(times, reverse=True)
    assert len(times) == asked


def sends(cli, count=6):
    return [
        cli.json("send", STRANGER, f"0.{number + 1}", "--fee-rate", "2", "--yes")["txid"]
        for number in range(count)
    ]


@pytest.fixture
def many_coins(cli, regtest):
    """A wallet with seven coins on as many addresses: its payments rest on nothing in common."""
    account = cli.make()
    for index in range(7):
        regtest.mine(account.script(Keychain.RECEIVE, index))
    regtest.mine(count=100)
    return account


@pytest.mark.parametrize("lacks", [set(), {"positions"}])
def test_six_sends_in_a_row_are_shown_in_that_order(cli, many_coins, regtest, stub, lacks):
    stub.lacks = lacks
    txids = [cli.json(*payment(at), "--yes")["txid"] for at in range(6)]
    shown = [line["txid"] for line in cli.json("history")]
    assert shown[:6] == txids[::-1]
    assert cli.json("history", "--limit", "1")[0]["txid"] == txids[-1]
    regtest.mine()
    confirmed = [line["txid"] for line in cli.json("history")][:6]
    if not lacks:
        assert confirmed == txids[::-1], "as in the block"
    assert [line["txid"] for line in cli.json("history")][:6] == confirmed
    regtest.mine(count=10)
    for _ in range(2):
        assert [line["txid"] for line in cli.json("history")][:6] == confirmed
    cli.run("restore", "--no-password", wallet="again", stdin=ABANDON)
    again = cli.json("history", wallet="again")
    assert [line["txid"] for line in again][:6] == confirmed, "the words bring the order back"


def payment(at):
    """A payment that takes a whole coin and leaves no change: it touches no other payment."""
    return ("send", STRANGER, f"49.{9990 - at}", "--fee-rate", "1", "--force")


def test_state_of_an_earlier_groat_knows_no_order(cli, many_coins):
    (txid,) = sends(cli, 1)
    cli.run("history")
    path = cli.datadir / "regtest" / "wallets" / "default" / "state.json"
    table = json.loads(path.read_text())
    table["remembered"] = [each[:4] for each in table["remembered"]]
    path.write_text(json.dumps(table | {"version": 2}))
    (second,) = sends(cli, 1)
    assert [line["txid"] for line in cli.json("history", "--limit", "2")] == [second, txid]


def test_coins_that_came_in_between_two_looks_are_in_the_servers_order(cli, rich, regtest):
    regtest.mine(count=3)
    txids = []
    for height in (2, 3, 4):
        coin = regtest.builder.coinbase_coin(height)
        tx = spend([coin], [TxOut(GROAT, rich.script(Keychain.RECEIVE, 1))])
        regtest.accept(tx)
        txids.append(id_text(tx.txid))
    assert [line["txid"] for line in cli.json("history", "--limit", "3")] == txids[::-1]
