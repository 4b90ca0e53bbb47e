"""Payments: what is signed is what was asked, at the rate that was asked."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.consensus.coin import Coin
from chain.consensus.errors import InvalidError
from chain.consensus.params import REGTEST
from chain.consensus.spend import spend_checks
from chain.consensus.transaction import check_transaction
from chain.primitives.numbers import Amount, Hash32, Height, outpoint
from chain.primitives.script import op_return, p2pkh_script, p2sh_script
from chain.primitives.signature import is_low_s
from chain.primitives.transaction import TxOut, decode_transaction
from tests.builders import Key
from tests.wallet.conftest import ABANDON
from wallet.errors import FundsError, InputError
from wallet.fees import FeeRate
from wallet.history.book import CoinStatus, WalletCoin
from wallet.keys.account import Account, Keychain, account_key
from wallet.keys.secret import Secret
from wallet.spend.payment import PaymentOrder, draft_payment, sign_draft
from wallet.spend.selection import DUST

KEY = account_key(Secret(ABANDON), REGTEST)
ACCOUNT = Account(KEY.public(), REGTEST)
CHANGE = ACCOUNT.script(Keychain.CHANGE, 5)
PAYEE = Key(9).script
TIP = Height(200)


def coin(number, value, status=CoinStatus.CONFIRMED, branch=Keychain.RECEIVE):
    point = outpoint(Hash32(number.to_bytes(32, "big")), number % 3)
    height = Height(100) if status is CoinStatus.CONFIRMED else None
    place = (branch, number % 4)
    return WalletCoin(point, Amount(value), ACCOUNT.script(*place), place, height, status)


def order(*values, rate=2_000, rest=False):
    outputs = tuple(TxOut(Amount(value), PAYEE) for value in values)
    return PaymentOrder(outputs, PAYEE if rest else None, FeeRate(rate))


def pay(asked, coins, seed=1):
    draft = draft_payment(asked, coins, CHANGE, TIP, Random(seed))
    return draft, sign_draft(draft, KEY, REGTEST)


ORDERS = st.builds(
    lambda values, rate, rest, data: PaymentOrder(
        tuple(TxOut(Amount(value), PAYEE) for value in values)
        + ((TxOut(Amount(0), op_return(data)),) if data else ()),
        PAYEE if rest or not (values or data) else None,
        FeeRate(rate),
    ),
    st.lists(st.integers(DUST, 10**6), max_size=3),
    st.integers(1, 50_000),
    st.booleans(),
    st.binary(max_size=80),
)
COINS = st.lists(st.integers(200, 3 * 10**6), min_size=1, max_size=10)


@given(ORDERS, COINS, st.integers())
def test_signed_payment_holds_every_promise(asked, values, seed):
    coins = [coin(number, value) for number, value in enumerate(values)]
    try:
        draft, signed = pay(asked, coins, seed)
    except FundsError:
        return
    spent = {each.point: each for each in coins}
    total = sum(spent[txin.outpoint].value for txin in signed.inputs)
    assert total == signed.output_value + draft.fee
    assert decode_transaction(signed.raw) == signed

    change = [out for out in signed.outputs if out.script == CHANGE]
    others = [out for out in signed.outputs if out.script != CHANGE]
    assert [out.value for out in change] == ([] if draft.change_at is None else [draft.change])
    assert all(out.value >= DUST for out in change)
    assert others[: len(asked.outputs)] == list(asked.outputs)
    assert len(others) == len(asked.outputs) + (asked.rest_to is not None)

    rate = asked.feerate
    asked_fee = -(-signed.vsize * rate // 1000)
    byte = -(-rate // 1000)
    shorter = len(signed.inputs)  # each signature may be a byte of weight or two shorter
    dropped = DUST - 1 + 31 * byte if draft.change_at is None and asked.rest_to is None else 0
    assert asked_fee <= draft.fee <= asked_fee + byte * (1 + shorter // 2) + dropped

    check_transaction(signed, REGTEST)
    held = [Coin(each.value, each.script, Height(100), False) for each in draft.coins]
    for check in spend_checks(signed, held):
        assert check.is_right()
        assert is_low_s(check.signature)
        assert len(check.signature) <= 70


def test_change_place_is_random():
    places = {
        [out.script for out in pay(order(10_000), [coin(1, 10**6)], seed)[1].outputs].index(CHANGE)
        for seed in range(20)
    }
    assert places == {0, 1}


@pytest.mark.parametrize(("value", "works"), [(DUST, True), (DUST - 1, False)])
def test_dust_is_not_sent(value, works):
    if works:
        pay(order(value), [coin(1, 10**6)])
    else:
        with pytest.raises(InputError, match=r"the least is 0\.00000294 GROAT"):
            pay(order(value), [coin(1, 10**6)])


@pytest.mark.parametrize(
    ("script", "least"),
    [
        (p2pkh_script(bytes(20)), 546),
        (p2sh_script(bytes(20)), 540),
        (b"\x51\x20" + bytes(32), 330),
        (b"\x51\x02\x4e\x73", 240),
    ],
)
def test_the_least_amount_depends_on_the_kind_of_address(script, least):
    for value in (least, least - 1):
        asked = PaymentOrder((TxOut(Amount(value), script),), None, FeeRate(2_000))
        if value == least:
            assert pay(asked, [coin(1, 10**6)])[1].outputs
        else:
            with pytest.raises(InputError, match=f"the least is 0.00000{least} GROAT"):
                pay(asked, [coin(1, 10**6)])
    asked = PaymentOrder((), script, FeeRate(1_000))
    draft, _ = pay(asked, [coin(1, 10**6)])
    assert draft.payments[0].value > 900_000


@pytest.mark.parametrize(
    ("status", "branch", "spendable"),
    [
        (CoinStatus.CONFIRMED, Keychain.RECEIVE, True),
        (CoinStatus.TRUSTED, Keychain.CHANGE, True),
        (CoinStatus.TRUSTED, Keychain.RECEIVE, False),
        (CoinStatus.UNTRUSTED, Keychain.CHANGE, False),
        (CoinStatus.UNTRUSTED, Keychain.RECEIVE, False),
        (CoinStatus.IMMATURE, Keychain.RECEIVE, False),
    ],
)
def test_only_confirmed_coins_and_own_change_are_spent(status, branch, spendable):
    coins = [coin(1, 10**6, status, branch)]
    if spendable:
        assert len(pay(order(10_000), coins)[1].inputs) == 1
    else:
        with pytest.raises(FundsError):
            pay(order(10_000), coins)
        with pytest.raises(FundsError, match="nothing that can be spent"):
            pay(order(rest=True), coins)


def test_unconfirmed_change_is_used_only_if_need_be():
    fresh = coin(1, 10**7, CoinStatus.TRUSTED, Keychain.CHANGE)
    old = coin(2, 10**6)
    assert [c.point for c in pay(order(10_000), [fresh, old])[0].coins] == [old.point]
    assert fresh.point in [c.point for c in pay(order(5 * 10**6), [fresh, old])[0].coins]


def test_max_spends_all_and_leaves_nothing():
    coins = [coin(number, 10**5 + number) for number in range(5)]
    draft, signed = pay(order(20_000, rest=True), coins)
    assert len(signed.inputs) == 5
    assert draft.change_at is None
    assert draft.paid + draft.fee == sum(each.value for each in coins)


def test_max_leaves_coins_that_cost_more_than_they_bring():
    draft, _ = pay(order(rest=True), [coin(1, 10**6), coin(2, 135)])
    assert [each.value for each in draft.coins] == [10**6]


def test_max_with_too_little_is_refused():
    with pytest.raises(FundsError, match="no more is left"):
        pay(order(rest=True), [coin(1, 137)])


def test_max_over_too_many_coins_says_what_to_do():
    with pytest.raises(FundsError, match=r"first pay amounts below 14\.0"):
        pay(order(rest=True), [coin(number, 10**6) for number in range(1, 1402)])


def test_wrong_key_is_caught_before_anything_is_sent():
    draft = draft_payment(order(10_000), [coin(1, 10**6)], CHANGE, TIP, Random(1))
    stranger = account_key(Secret(ABANDON, "other"), REGTEST)
    with pytest.raises(InvalidError, match="OP_EQUALVERIFY"):
        sign_draft(draft, stranger, REGTEST)
