"""Coin control: which coins are spent, which are not, and labels."""

import json

import pytest

from chain.consensus.params import REGTEST
from chain.primitives.address import script_address
from chain.primitives.numbers import GRAINS_PER_GROAT, id_text, outpoint_index, outpoint_txid
from chain.primitives.script import p2pkh_script, p2sh_script
from chain.primitives.transaction import Transaction, TxIn, TxOut
from tests.wallet.commands.test_send import PAYEE, mempool_tx
from wallet.errors import FileError
from wallet.history.dropped import RememberedTransaction
from wallet.keys.account import Keychain
from wallet.store.files import write_private
from wallet.store.state import LABEL_CHARACTERS_MAX, State, load_state, save_state

GROAT = GRAINS_PER_GROAT
NOWHERE = "00" * 32 + ":0"


@pytest.fixture
def coins(cli, regtest):
    """A wallet of three mature coins of 50 GROAT at different addresses; their names."""
    account = cli.make()
    for index in range(3):
        regtest.mine(account.script(Keychain.RECEIVE, index))
    regtest.mine(count=99)
    return names(cli)


def names(cli):
    return [f"{coin['txid']}:{coin['vout']}" for coin in cli.json("utxos")]


def spent(tx):
    return {
        f"{id_text(outpoint_txid(txin.outpoint))}:{outpoint_index(txin.outpoint)}"
        for txin in tx.inputs
    }


def state_file(cli):
    return cli.datadir / "regtest" / "wallets" / "default" / "state.json"


@pytest.mark.parametrize("chosen", [[0], [2], [1, 2], [0, 1, 2]])
def test_exactly_the_coins_named_are_spent(cli, coins, regtest, chosen):
    flags = [word for index in chosen for word in ("--from", coins[index])]
    done = cli.json("send", PAYEE, "1", *flags, "--yes")
    assert spent(mempool_tx(regtest)) == {coins[index] for index in chosen}
    assert done["change"] == 50 * GROAT * len(chosen) - GROAT - done["fee"]


def test_max_of_the_coins_named_is_all_of_them(cli, coins, regtest):
    done = cli.json("send", PAYEE, "max", "--from", coins[1], "--from", coins[1], "--yes")
    assert done["amount"] + done["fee"] == 50 * GROAT
    assert spent(mempool_tx(regtest)) == {coins[1]}


def test_unconfirmed_coin_from_others_is_spent_only_by_name(cli, coins, regtest):
    cli.run("send", PAYEE, "20", "--yes", "--from", coins[0])  # PAYEE is the wallet's own
    name = f"{id_text(mempool_tx(regtest).txid)}:"
    own = [coin for coin in names(cli) if coin.startswith(name)]
    cli.run("send", PAYEE, "49", "--yes", "--from", own[0], "--from", own[1])
    assert len(regtest.mempool) == 2


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        (["1", "--from", NOWHERE], 2, "has no coin"),
        (["1", "--from", "x"], 2, "write it TXID:N"),
        (["1", "--from", "00" * 32 + ":01"], 2, "write it TXID:N"),
        (["1", "--from", "00" * 32], 2, "write it TXID:N"),
    ],
)
@pytest.mark.usefixtures("coins")
def test_coin_that_cannot_be_meant_is_refused(cli, words, code, hint):
    assert hint in cli.error("send", PAYEE, *words, "--yes", code=code)


def test_coins_named_that_are_too_few_are_not_added_to(cli, coins, regtest):
    error = cli.error("send", PAYEE, "50", "--from", coins[0], "--yes", code=6)
    assert "the named coins have 50.00000000 GROAT" in error
    assert not regtest.mempool


def test_immature_coin_is_refused_by_name(cli, coins, regtest):
    regtest.mine(cli.make(wallet="again").script(Keychain.RECEIVE, 0))
    young = names(cli)[-1]
    assert "immature coinbase" in cli.error("send", PAYEE, "1", "--from", young, code=2)


def test_frozen_coin_is_never_spent_until_it_thaws(cli, coins, regtest):
    for coin in coins[:2]:
        assert cli.json("freeze", coin) == {"coin": coin, "frozen": True}
    shown = {f"{c['txid']}:{c['vout']}": (c["frozen"], c["spendable"]) for c in cli.json("utxos")}
    assert shown == {
        coins[0]: (True, False),
        coins[1]: (True, False),
        coins[2]: (False, True),
    }
    assert "confirmed, frozen" in cli.run("utxos").stdout
    assert "not enough" in cli.error("send", PAYEE, "60", "--yes", code=6)
    assert "is frozen" in cli.error("send", PAYEE, "1", "--from", coins[0], code=2)
    assert cli.json("send", PAYEE, "max", "--dry-run")["amount"] < 50 * GROAT
    assert cli.run("unfreeze", coins[0]).stdout == f"{coins[0]} unfrozen\n"
    cli.run("send", PAYEE, "60", "--yes")
    assert spent(mempool_tx(regtest)) == {coins[0], coins[2]}


def test_balance_counts_frozen_coins_and_says_how_much_is_frozen(cli, coins):
    assert "frozen" not in cli.run("balance").stdout
    cli.run("freeze", coins[0])
    found = cli.json("balance")
    assert (found["total"], found["trusted"], found["frozen"]) == tuple(
        GROAT * coins for coins in (150, 150, 50)
    )
    last = cli.run("balance").stdout.splitlines()[-1]
    assert last.split(maxsplit=2) == ["frozen", "50.00000000", "GROAT, in the sums above"]


def test_only_own_coins_freeze_and_only_frozen_ones_thaw(cli, coins):
    assert "has no coin" in cli.error("freeze", NOWHERE, code=2)
    assert "is not frozen" in cli.error("unfreeze", coins[0], code=2)
    assert "no wallet" in cli.error("unfreeze", coins[0], code=5, wallet="other")


def test_labels_of_transactions_and_addresses_are_shown(cli, coins):
    account = cli.make(wallet="again")
    txid = coins[0][:64]
    first, second, third = (account.address(Keychain.RECEIVE, index) for index in range(3))
    cli.run("label", txid, "first reward")
    cli.run("label", second.upper(), "from the pool")
    assert cli.json("label", third, "x") == {"name": third, "label": "x"}
    assert cli.json("label", third, "")["label"] is None
    assert [line["label"] for line in cli.json("history")] == [
        None,
        "from the pool",
        "first reward",
    ]
    assert [coin["label"] for coin in cli.json("utxos")] == ["first reward", "from the pool", None]
    for command in ("history", "utxos"):
        assert "from the pool" in cli.run(command).stdout
    assert first != second


def test_label_of_a_recipient_is_shown_in_history(cli, coins):
    stranger = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
    cli.run("label", stranger, "baker")
    cli.run("send", stranger, "1", "--yes")
    assert cli.json("history")[0]["label"] == "baker"


@pytest.mark.parametrize(
    "script", [p2pkh_script(bytes(20)), p2sh_script(bytes(20)), b"\x51\x20" + bytes(32)]
)
def test_a_recipient_of_any_kind_is_paid_and_its_label_is_shown(cli, coins, script):
    stranger = script_address(script, REGTEST.address_prefixes)
    assert cli.json("label", f" {stranger} ", "baker")["name"] == stranger
    cli.run("send", stranger, "0.5", "--yes")
    assert script in [out.script for out in mempool_tx(cli.chain).outputs]
    assert cli.json("history")[0]["label"] == "baker"


def test_label_given_with_an_address_stays(cli):
    cli.make()
    first = cli.json("address", "--label", "rent")
    assert first["label"] == "rent"
    assert cli.json("address")["label"] == "rent"
    assert "label: rent" in cli.run("address").stderr
    assert cli.json("address", "--new")["label"] is None


@pytest.mark.parametrize(
    ("name", "text", "hint"),
    [
        ("x", "text", "not an address"),
        ("zz" * 32, "text", "64 hex digits"),
        ("00" * 32, "two\nlines", "one line"),
        ("00" * 32, "\x1b[31m", "printable"),
        ("00" * 32, "x" * (LABEL_CHARACTERS_MAX + 1), "at most 100"),
    ],
)
def test_label_or_name_that_is_none_is_refused(cli, name, text, hint):
    cli.make()
    assert hint in cli.error("label", name, text, code=2)
    cli.run("label", "00" * 32, "x" * LABEL_CHARACTERS_MAX)


def test_deleting_the_state_loses_labels_and_freezes_only(cli, coins):
    before = cli.json("history"), cli.json("balance")
    cli.run("freeze", coins[0])
    cli.run("label", coins[0][:64], "mine")
    state_file(cli).unlink()
    assert (cli.json("history"), cli.json("balance")) == before
    assert not any(coin["frozen"] for coin in cli.json("utxos"))


def test_state_of_the_first_format_is_read(cli, coins):
    cli.run("freeze", coins[0])
    table = json.loads(state_file(cli).read_text())
    old = {name: table[name] for name in ("handed_out", "used", "pending")}
    state_file(cli).write_text(json.dumps(old | {"version": 1}))
    assert cli.json("balance")["total"] == 150 * GROAT
    cli.run("freeze", coins[0])
    assert json.loads(state_file(cli).read_text())["version"] == 3
    state_file(cli).write_text(json.dumps(old | {"version": 4}))
    assert "later groat" in cli.error("balance", code=5)
    state_file(cli).write_text(json.dumps(old | {"version": 0}))
    assert "is damaged" in cli.error("balance", code=5)


def leaves(table, path=()):
    """Yield the way to every value in a table of JSON."""
    if isinstance(table, dict | list):
        for at in table if isinstance(table, dict) else range(len(table)):
            yield from leaves(table[at], (*path, at))
    if path:
        yield path


STRANGE = [float("inf"), float("nan"), 1.5, True, None, "5", [], {}, -1, 1 << 70, "\ud800"]


def test_strange_value_in_any_place_of_the_state_is_read_or_damage(tmp_path):
    state = State()
    spent = Transaction(2, [TxIn(bytes(36))], [TxOut(5, bytes(22))])
    state.add_pending(spent, 7)
    state.hold_change(3, 7)
    state.freeze(bytes(36))
    state.set_label("a", "b")
    state.remembered = {spent.txid: RememberedTransaction(spent, 5, None, 7)}
    path = tmp_path / "state.json"
    save_state(path, state)
    table = json.loads(path.read_text())
    places = list(leaves(table))
    assert len(places) > 25
    damaged = 0
    for place in places:
        for value in STRANGE:
            changed = json.loads(path.read_text())
            inner = changed
            for step in place[:-1]:
                inner = inner[step]
            inner[place[-1]] = value
            other = tmp_path / "other.json"
            write_private(other, json.dumps(changed).encode())
            try:
                found = load_state(other)
            except FileError:
                damaged += 1
            else:
                save_state(other, found)
    assert damaged > 8 * len(places)


def test_too_many_labels_or_frozen_coins_are_refused(cli, coins, monkeypatch):
    monkeypatch.setattr("wallet.store.state._LABELS_MAX", 1)
    monkeypatch.setattr("wallet.store.state._FROZEN_MAX", 1)
    cli.run("label", "00" * 32, "one")
    cli.run("label", "00" * 32, "still one")
    assert "remove some" in cli.error("label", "01" * 32, "two", code=2)
    cli.run("freeze", coins[0])
    assert "unfreeze some" in cli.error("freeze", coins[1], code=2)
