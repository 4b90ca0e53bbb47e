"""The account's book: balance, trust, maturity and history from bare transactions."""

import pytest

from chain.consensus.params import REGTEST
from chain.primitives.numbers import Amount, Hash32, Height, outpoint
from chain.primitives.transaction import Transaction, TxIn, TxOut
from tests.builders import Key, coinbase
from wallet.esplora import SeenTransaction
from wallet.history.book import Book, CoinStatus
from wallet.keys.account import Keychain

MINE, CHANGE, OTHER = Key(1).script, Key(2).script, Key(3).script
PLACES = {MINE: (Keychain.RECEIVE, 3), CHANGE: (Keychain.CHANGE, 7)}
TIP = Height(200)
TIME = 1_700_000_000


def seen(tx, height=None):
    return SeenTransaction(tx, height, None if height is None else TIME)


def foreign(value, script=MINE, number=1):
    """Return a transaction of somebody else that pays `value` to `script`."""
    point = outpoint(Hash32(number.to_bytes(32, "big")), 0)
    return Transaction(2, [TxIn(point)], [TxOut(Amount(value), script)])


def own(parents, *outputs):
    """Return a transaction that spends output 0 of each parent."""
    inputs = [TxIn(outpoint(parent.txid, 0)) for parent in parents]
    return Transaction(2, inputs, [TxOut(Amount(value), script) for value, script in outputs])


def book(*entries):
    return Book(entries, PLACES, TIP, REGTEST)


@pytest.mark.parametrize(("confirmations", "mature"), [(99, False), (100, True)])
def test_mined_coin_matures_with_100_confirmations(confirmations, mature):
    height = TIP - confirmations + 1
    found = book(seen(coinbase(height, 5000, script=MINE), height))
    (coin,) = found.coins()
    assert coin.is_spendable == mature
    balance = found.balance()
    assert (balance.trusted, balance.immature) == ((5000, 0) if mature else (0, 5000))
    assert found.history()[0].confirmations == confirmations


def test_balance_has_four_parts():
    paid = foreign(1000)
    found = book(
        seen(paid, 100),
        seen(foreign(200, number=2)),
        seen(coinbase(200, 5000, script=MINE), 200),
        seen(own([paid], (600, OTHER), (300, CHANGE))),
    )
    balance = found.balance()
    assert (balance.trusted, balance.untrusted_pending, balance.immature) == (300, 200, 5000)
    assert balance.total == 5500


def test_change_of_an_untrusted_payment_is_not_trusted():
    incoming = foreign(1000)
    child = own([incoming], (900, CHANGE))
    grandchild = own([child], (800, CHANGE))
    (coin,) = book(seen(incoming), seen(child), seen(grandchild)).coins()
    assert coin.status is CoinStatus.UNTRUSTED
    (coin,) = book(seen(incoming, 100), seen(child), seen(grandchild)).coins()
    assert coin.status is CoinStatus.TRUSTED


def test_payment_with_a_foreign_input_is_not_trusted():
    mine, theirs = foreign(1000), foreign(1000, OTHER, number=5)
    joint = own([mine, theirs], (1500, CHANGE))
    (coin,) = book(seen(mine, 100), seen(theirs, 100), seen(joint)).coins()
    assert coin.status is CoinStatus.UNTRUSTED


def test_long_chain_of_unconfirmed_payments_is_walked_without_recursion():
    last = foreign(10**6)
    entries = [seen(last, 100)]
    for value in range(10**6 - 1, 10**6 - 3001, -1):
        last = own([last], (value, CHANGE))
        entries.append(seen(last))
    assert book(*entries).balance().trusted == 10**6 - 3000


def test_history_shows_net_fee_and_order():
    paid = foreign(1000)
    sent = own([paid], (600, OTHER), (350, CHANGE))
    swept = own([sent], (0, OTHER))
    lines = book(seen(paid, 100), seen(sent, 150)).history()
    assert [(line.net, line.fee, line.confirmations) for line in lines] == [
        (-650, 50, 51),
        (1000, None, 101),
    ]
    first = book(seen(paid, 100), seen(sent, 150), seen(swept)).history()[0]
    assert (first.txid, first.height, first.time, first.confirmations) == (
        swept.txid,
        None,
        None,
        0,
    )


def test_used_counts_to_the_highest_index_even_when_spent():
    paid = foreign(1000)
    assert book(seen(paid, 1), seen(own([paid], (900, OTHER)), 2)).used() == {
        Keychain.RECEIVE: 4,
        Keychain.CHANGE: 0,
    }


def test_pending_payment_counts_before_the_server_shows_it():
    paid = foreign(1000)
    sent = own([paid], (600, OTHER), (350, CHANGE))
    found = book(seen(paid, 100))
    found.add_pending([sent])
    assert [(coin.value, coin.status) for coin in found.coins()] == [(350, CoinStatus.TRUSTED)]
    found.add_pending([sent])
    assert len(found.history()) == 2


def test_pending_payment_gives_way_to_what_the_server_shows():
    paid = foreign(1000)
    sent = own([paid], (600, OTHER), (350, CHANGE))
    replaced = own([paid], (999, OTHER))
    child = Transaction(2, [TxIn(outpoint(sent.txid, 1))], [TxOut(Amount(300), CHANGE)])
    found = book(seen(paid, 100), seen(replaced))
    found.add_pending([sent, child])
    assert found.coins() == []
    assert {line.txid for line in found.history()} == {paid.txid, replaced.txid}
