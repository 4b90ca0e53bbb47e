"""Blocks of P2WPKH payments in columns: verdicts and effects as of one transaction at a time."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.consensus import block_validation as module
from chain.consensus.block_validation import (
    BLOCK_SIGOPS_COST_MAX,
    check_block_body,
    check_block_context,
    connect_block,
)
from chain.consensus.coin import Coin
from chain.consensus.errors import InvalidError, Reason
from chain.consensus.p2wpkh_block import (
    P2wpkhChecks,
    are_final,
    connect_payments,
    has_right_form,
    spend_records,
)
from chain.consensus.params import REGTEST
from chain.consensus.spend import verify_checks
from chain.consensus.subsidy import block_subsidy
from chain.ledger.db.index.index_writer import IndexRows
from chain.primitives import block as block_module
from chain.primitives import compiled_block
from chain.primitives.block import Block, decode_block
from chain.primitives.hashes import hash160
from chain.primitives.numbers import AMOUNT_MAX, NULL_OUTPOINT, OutPoint, outpoint
from chain.primitives.script import op_return, p2wpkh_script
from chain.primitives.sighash import SIGHASH_ALL, SIGHASH_NONE
from chain.primitives.transaction import LOCK_TIME_THRESHOLD, SEQUENCE_LOCK_OFF, Transaction, TxOut
from tests.builders import KEY, Key, block_on, pay, sign_input, spend
from tests.consensus.test_headers import LONG

PARENT = LONG[200]
HEIGHT = 201
KEYS = [Key(number) for number in range(1, 4)]
COUNT = 40
POINTS = [OutPoint(b"%032d" % number + bytes(4)) for number in range(COUNT)]
VALUE = 10_000
COINS = {
    point: Coin(VALUE + number, KEYS[number % 3].script, 90 + number % 13, number % 4 == 0)
    for number, point in enumerate(POINTS)
}  # those of height 102 and from a coinbase are not mature


@pytest.fixture(autouse=True)
def _compiled(monkeypatch):
    """Have blocks of any number of transactions read by compiled code."""
    if compiled_block._reader_or_none() is None:
        pytest.skip("no compiled code on this machine")
    monkeypatch.setattr(block_module, "_COLUMNS_MIN", 1)


def payment(number: int, *outputs: TxOut, **how) -> Transaction:
    """Spend a coin; its key signs."""
    point = POINTS[number]
    key = KEYS[number % 3]
    return spend([(point, COINS[point])], outputs or [pay(VALUE - 7, key)], key=key, **how)


def in_columns(payments, fees=0) -> Block:
    """Return a block as it is read from its bytes."""
    block = decode_block(block_on(PARENT, payments, fees=fees).raw)
    assert block._transactions is None, "no objects were made"
    return block


def one_by_one(block: Block) -> Block:
    """Return the same block, made of transactions."""
    return Block(block.header, decode_block(block.raw).transactions)


@dataclass
class Outcome:
    """What consensus said of a block."""

    connected: tuple | None
    error: tuple | None
    was_usual: bool = False


def outcome(block: Block, coins=COINS, verified=frozenset(), params=REGTEST) -> Outcome:
    try:
        check_block_body(block, params)
        check_block_context(block, PARENT)
        connected = connect_block(block, PARENT, coins, params, verified)
    except InvalidError as error:
        return Outcome(None, (error.reason, error.detail))
    checks = [
        (check.transaction, check.index, list(check.coins), check.record)
        for check in connected.checks
    ]
    assert [check[3] for check in checks] == spend_records(connected.checks)
    effects = connected.spent, connected.removed, connected.created, connected.fees, checks
    return Outcome(effects, None, isinstance(connected.checks, P2wpkhChecks))


def compare(block: Block, **how) -> Outcome:
    """Return the outcome in columns, after comparing it with that one by one."""
    here, there = outcome(block, **how), outcome(one_by_one(block), **how)
    assert not there.was_usual
    assert (here.connected, here.error) == (there.connected, there.error)
    return here


def is_usual(block: Block, **how) -> bool:
    found = compare(block, **how)
    assert found.error is None, found.error
    return found.was_usual


def refused_both_ways(block: Block, **how) -> None:
    assert compare(block, **how).error is not None


def test_usual_payments_are_connected_in_columns():
    block = in_columns([payment(1), payment(3, pay(1), pay(2), pay(3)), payment(5)])
    assert is_usual(block)
    columns = in_columns(block.transactions[1:]).p2wpkh_columns
    assert has_right_form(columns, REGTEST)
    assert are_final(columns, HEIGHT)


def test_a_block_keeps_its_transactions_or_what_they_are_made_from():
    block = in_columns([payment(1), payment(3)])
    columns, txids, coinbase = block.p2wpkh_columns, block.txids, block.coinbase
    block.release_columns()
    assert block.p2wpkh_columns == columns
    assert block.transactions[0] == coinbase
    assert block._tables is None
    assert block.p2wpkh_columns == columns
    block.release_columns()
    assert block.p2wpkh_columns is None
    assert (block.txids, block.transaction_count) == (txids, 3)


def test_no_transaction_object_is_made_for_usual_payments():
    block = in_columns([payment(1), payment(3)])
    check_block_body(block, REGTEST)
    check_block_context(block, PARENT)
    connected = connect_block(block, PARENT, COINS, REGTEST)
    spend_records(connected.checks)
    IndexRows.of(block, HEIGHT, connected.spent)
    assert block.transaction_count == 3
    assert block._transactions is None


def test_inputs_of_several_keys_and_coins_spent_in_the_block_are_connected_in_columns():
    first = spend([(POINTS[1], COINS[POINTS[1]]), (POINTS[7], COINS[POINTS[7]])], [pay(5_000)] * 3)
    keys = [KEYS[1], KEYS[2]]
    points = [POINTS[1], POINTS[5]]
    mixed = Transaction(2, [replace(first.inputs[0], outpoint=point) for point in points], [pay(9)])
    for index, (key, point) in enumerate(zip(keys, points, strict=True)):
        mixed = sign_input(mixed, index, COINS[point].value, key)
    made = outpoint(mixed.txid, 0)
    second = spend([(made, Coin(9, KEY.script, HEIGHT, False))], [pay(2), pay(3)])
    third = spend([(outpoint(second.txid, 1), Coin(3, KEY.script, HEIGHT, False))], [pay(1)])
    found = compare(in_columns([mixed, payment(3), second, third]))
    assert found.was_usual
    _, removed, created, fees, _ = found.connected
    assert set(removed) == {POINTS[1], POINTS[5], POINTS[3]}
    assert made not in created
    assert fees == VALUE * 2 + 6 - 9 + (VALUE + 3) - (VALUE - 7) + 9 - 5 + 3 - 1
    refused_both_ways(in_columns([second, mixed]))  # the coin is created too late


def test_transactions_that_were_verified_before_add_no_checks():
    block = in_columns([payment(number) for number in (1, 3, 5, 7)])
    wtxids = [transaction.wtxid for transaction in block.transactions[1:]]
    for known in (wtxids, wtxids[:1], wtxids[1:3], wtxids[3:]):
        found = compare(in_columns(block.transactions[1:]), verified=frozenset(known))
        assert found.was_usual
        assert len(found.connected[4]) == len(wtxids) - len(known)


@pytest.mark.parametrize(("lock_time", "usual"), [(HEIGHT - 1, True), (HEIGHT, False)])
def test_a_lock_time_up_to_the_height_before_is_usual(lock_time, usual):
    assert is_usual(in_columns([payment(1), payment(3, lock_time=lock_time)])) is True
    assert are_final(in_columns([payment(1, lock_time=lock_time)]).p2wpkh_columns, HEIGHT) is usual
    open_lock = payment(1, lock_time=lock_time, sequence=0xFFFFFFFE)
    assert (compare(in_columns([open_lock])).error is None) is usual


def test_no_time_is_taken_for_a_height():
    columns = in_columns([payment(1, lock_time=LOCK_TIME_THRESHOLD)]).p2wpkh_columns
    assert not are_final(columns, LOCK_TIME_THRESHOLD + 1)


@pytest.mark.parametrize(
    ("sequence", "version", "usual"),
    [
        (SEQUENCE_LOCK_OFF, 2, True),
        (SEQUENCE_LOCK_OFF - 1, 1, True),
        (5, 2, False),
        (0, 0xFFFFFFFF, False),
    ],
)
def test_relative_locks_are_for_the_other_way(sequence, version, usual):
    assert is_usual(in_columns([payment(1, sequence=sequence, version=version)])) is usual
    refused_both_ways(in_columns([payment(1, sequence=150)]))


def test_other_hash_types_are_for_the_other_way():
    other = sign_input(payment(1), 0, COINS[POINTS[1]].value, KEYS[1], SIGHASH_NONE)
    assert not is_usual(in_columns([payment(3), other]))
    assert other.inputs[0].witness[0][-1] != SIGHASH_ALL


def test_a_wrong_signature_is_found_by_its_check():
    wrong = sign_input(payment(1), 0, 1, KEYS[1])
    block = in_columns([payment(3), wrong, payment(5)])
    assert is_usual(block)
    connected = connect_block(block, PARENT, COINS, REGTEST)
    assert [check.is_right() for check in connected.checks] == [True, False, True]
    assert connected.checks[-1].transaction == block.transactions[3]
    assert len(connected.checks[1:]) == 2
    with pytest.raises(InvalidError):
        verify_checks(connected.checks)


def changed_witness(number: int, *witness: bytes) -> Transaction:
    made = payment(number)
    return Transaction(2, [replace(made.inputs[0], witness=witness)], made.outputs)


@pytest.mark.parametrize(
    "witness",
    [
        (b"", KEYS[1].public),
        (b"\x30\x01", KEYS[2].public),
        (b"\x30\x01", b""),
        (b"\x30\x01", bytes(521)),
        (KEYS[1].public,),
        (b"\x01", b"\x30\x01", KEYS[1].public),
        (),
    ],
    ids=len,
)
def test_witnesses_that_fail_are_refused_both_ways(witness):
    refused_both_ways(in_columns([payment(3), changed_witness(1, *witness)]))


def test_an_empty_signature_fails_as_one_by_one():
    # The record of the usual way would be wrong, too, but the error is the engine's.
    refused_both_ways(in_columns([changed_witness(1, b"\x01", KEYS[1].public[:-1])]))


@pytest.mark.parametrize(
    "payments",
    [
        [payment(1), payment(1)],  # the same coin twice
        [payment(1), payment(1, pay(5))],
        [payment(1, pay(VALUE + 2))],  # more than the coin's value
        [payment(1, pay(-1), pay(5))],
        [payment(1, pay(AMOUNT_MAX + 1))],
        [payment(1, pay(AMOUNT_MAX), pay(1))],
        [payment(12)],  # from a coinbase, not mature
        [payment(1, *[pay(1)] * 2), spend([(OutPoint(bytes(36)), COINS[POINTS[1]])], [pay(1)])],
        [spend([(NULL_OUTPOINT, COINS[POINTS[1]])], [pay(1)]), payment(1)],
        [spend([(POINTS[1], COINS[POINTS[1]]), (NULL_OUTPOINT, COINS[POINTS[1]])], [pay(1)])],
        [spend([(POINTS[4], COINS[POINTS[4]])] * 2, [pay(1)], key=KEYS[1])],
    ],
)
def test_payments_that_break_a_rule_are_refused_both_ways(payments):
    refused_both_ways(in_columns([*payments, payment(7)]))
    refused_both_ways(in_columns([payment(7), *payments]))


class CountedCoins(dict):
    """Coins, and how often one was asked for that does not exist."""

    missed = 0

    def get(self, point):
        self.missed += point not in self
        return super().get(point)


def test_the_columns_ask_for_one_missing_coin_only():
    """Each may take a query."""
    coins = CountedCoins()
    block = in_columns([payment(number) for number in (1, 3, 5, 7)])
    assert connect_payments(block, HEIGHT, coins, REGTEST, frozenset()) is None
    assert coins.missed == 1


def test_signatures_of_a_block_that_fails_later_are_verified_together():
    """Whatever makes a block invalid behind its scripts, one call verifies all of these.

    The objects of single checks would each hold the coins of all inputs of a payment.
    """
    points = [POINTS[number] for number in (4, 7, 10, 13)]  # of one key
    one = spend([(point, COINS[point]) for point in points], [pay(1)], key=KEYS[1])
    block = in_columns([one, payment(3)], fees=10**9)
    connecting = module._BlockConnection(block, PARENT, COINS, REGTEST, frozenset())
    connecting.add_coinbase(block.coinbase)
    assert connecting.add_usual_payments()
    connecting.check_signatures()
    assert block._transactions is None, "a single check would have asked for them"
    refused_both_ways(block)
    wrong = sign_input(payment(3), 0, 1, KEYS[0])
    assert compare(in_columns([one, wrong], fees=10**9)).error[0] is Reason.SCRIPT


def test_one_payment_may_not_be_paid_by_the_surplus_of_another():
    rich = payment(1, pay(1))
    poor = payment(3, pay(VALUE + 4))
    for payments in ([rich, poor], [poor, rich]):
        refused_both_ways(in_columns(payments))
    assert is_usual(in_columns([rich, payment(3, pay(VALUE + 3))]))


def test_the_coinbase_may_take_the_fees_and_no_more():
    assert is_usual(in_columns([payment(1)], fees=8))
    refused_both_ways(in_columns([payment(1)], fees=9))


def test_a_spend_of_the_coinbase_beside_it_is_refused_both_ways():
    first = block_on(PARENT, [payment(1)]).transactions[0]
    coin = Coin(block_subsidy(HEIGHT, REGTEST), KEY.script, HEIGHT, True)
    refused_both_ways(in_columns([spend([(outpoint(first.txid, 0), coin)], [pay(1)])]))


def test_outputs_may_be_of_any_kind():
    p2pkh = b"\x76\xa9\x14" + bytes(20) + b"\x88\xac"
    kinds = [op_return(b"x"), p2pkh, b"", b"\x51" * 10_000, b"\x51" * 10_001, bytes(22)]
    odd = payment(1, *[TxOut(number, script) for number, script in enumerate(kinds)])
    block = in_columns([payment(3), odd, payment(5)])
    found = compare(block)
    assert found.was_usual
    created = [coin.script for coin in found.connected[2].values()]
    assert [script in created for script in kinds] == [False, True, True, True, False, True]
    assert in_columns(block.transactions[1:]).p2wpkh_columns.sigops == 1


def test_a_payment_that_comes_twice_is_refused_both_ways():
    """Between others, the Merkle tree is not mutated; an unspendable output creates no coin."""
    for odd in (op_return(b"x"), b"\x51" * 10_001, b"\x51"):
        twice = payment(1, TxOut(1, odd), pay(2))
        for payments in ([twice, twice, payment(3)], [twice, payment(3), twice, payment(5)]):
            block = in_columns(payments)
            assert not block.merkle[1]
            refused_both_ways(block)


def test_coins_of_another_kind_are_for_the_other_way():
    zeros = replace(COINS[POINTS[1]], script=b"\x00\x14" + bytes(20))
    refused_both_ways(in_columns([payment(1)]), coins=COINS | {POINTS[1]: zeros})
    p2wsh = replace(COINS[POINTS[1]], script=b"\x00\x20" + bytes(32))
    refused_both_ways(in_columns([payment(1)]), coins=COINS | {POINTS[1]: p2wsh})
    later = replace(COINS[POINTS[1]], script=b"\x51\x14" + KEYS[1].key_hash)  # BIP141: not defined
    assert not is_usual(in_columns([payment(1)]), coins=COINS | {POINTS[1]: later})
    anyone = replace(COINS[POINTS[1]], script=b"\x53")  # a true number; the witness is not run
    refused_both_ways(in_columns([payment(1)]), coins=COINS | {POINTS[1]: anyone})


def test_a_key_that_is_too_long_for_the_stack_is_refused_both_ways():
    for size in (520, 521):
        key = bytes(size)
        coin = replace(COINS[POINTS[1]], script=p2wpkh_script(hash160(key)))
        block = in_columns([changed_witness(1, b"\x30\x01", key), payment(3)])
        found = compare(block, coins=COINS | {POINTS[1]: coin})
        assert (found.error is None) is (size == 520), "its check is what fails then"


def test_items_of_one_input_do_not_stand_in_for_those_of_another():
    first, second = payment(1), payment(3)
    (signature, key), others = first.inputs[0].witness, second.inputs[0].witness
    shifted = [changed_witness(1, signature), changed_witness(3, key, *others)]
    block = in_columns(shifted)
    assert block.p2wpkh_columns is None
    refused_both_ways(block)


def test_payments_without_witnesses_have_no_columns():
    assert in_columns([changed_witness(1), payment(3)]).p2wpkh_columns is None
    assert in_columns([changed_witness(1)]).p2wpkh_columns is None


def test_fees_of_more_than_all_coins_are_refused_both_ways():
    """Each payment's fee would be allowed."""
    rich = {point: replace(COINS[point], value=AMOUNT_MAX) for point in (POINTS[1], POINTS[3])}
    coins = COINS | rich
    made = [
        spend([(point, coin)], [pay(1)], key=KEYS[number % 3])
        for (point, coin), number in zip(rich.items(), (1, 3), strict=True)
    ]
    assert compare(in_columns(made[:1]), coins=coins).was_usual
    refused_both_ways(in_columns(made), coins=coins)


def test_an_input_with_a_script_is_for_the_other_way():
    made = payment(1)
    scripted = Transaction(2, [replace(made.inputs[0], script_sig=b"\x51")], made.outputs)
    block = in_columns([payment(3), scripted])
    assert block.p2wpkh_columns is None
    refused_both_ways(block)


def test_a_network_of_few_coins_looks_at_each_payment():
    """The values of all payments together may exceed all coins, those of one may not."""
    params = replace(REGTEST, amount_max=VALUE + 10)
    payments = [payment(1), payment(3)]
    block = in_columns(payments, fees=-block_subsidy(HEIGHT, REGTEST))
    assert not has_right_form(block.p2wpkh_columns, params)
    assert compare(block, params=params).error is None


def test_the_limit_of_signature_operations_counts_each_input(monkeypatch):
    block = in_columns([payment(1), payment(3)])
    monkeypatch.setattr(module, "BLOCK_SIGOPS_COST_MAX", 2)
    assert is_usual(block)
    monkeypatch.setattr(module, "BLOCK_SIGOPS_COST_MAX", 1)
    refused_both_ways(in_columns([payment(1), payment(3)]))


@pytest.mark.parametrize(("count", "is_valid"), [(19_999, True), (20_000, False)])
def test_the_limit_of_signature_operations_counts_output_scripts(count, is_valid):
    """Each costs four, and the two inputs one each."""
    scripts = [b"\xac" * (count // 4)] * 3 + [b"\xac" * (count - count // 4 * 3)]
    odd = payment(1, *[TxOut(1, script) for script in scripts])
    found = compare(in_columns([odd, payment(3)]))
    assert (found.error is None) is is_valid
    assert found.was_usual is is_valid
    assert BLOCK_SIGOPS_COST_MAX == 4 * 20_000


def test_a_block_of_the_coinbase_only_has_no_columns():
    block = in_columns([])
    assert block.p2wpkh_columns is None
    assert compare(block).error is None


def test_payments_without_outputs_are_refused_both_ways():
    empty = spend([(POINTS[1], COINS[POINTS[1]])], [], key=KEYS[1])
    assert in_columns([empty]).p2wpkh_columns is None
    for payments in ([empty], [empty, payment(3)], [payment(3), empty]):
        refused_both_ways(in_columns(payments))


@st.composite
def payment_lists(draw):
    """Payments of one or two inputs, some from others of the list, most of them usual."""
    made: list[Transaction] = []
    coins = dict(COINS)
    for _ in range(draw(st.integers(1, 6))):
        points = draw(st.lists(st.sampled_from(sorted(coins)), min_size=1, max_size=2))
        total = sum(coins[point].value for point in points)
        amounts = st.integers(0, max(total // 3, 1)) if draw(st.booleans()) else st.just(1)
        odd_outputs = [
            TxOut(1, op_return(b"")),
            TxOut(1, b"\xac"),
            pay(-1),
            pay(AMOUNT_MAX),
            pay(VALUE * 2),
        ]
        odd = draw(st.integers(0, 14)) == 0
        outputs = [
            draw(st.sampled_from(odd_outputs)) if odd else pay(draw(amounts), draw(keys))
            for _ in range(draw(st.sampled_from([1, 2, 2, 2, 3, 0])))
        ]
        sequence = draw(st.sampled_from([0xFFFFFFFF] * 9 + [0xFFFFFFFD, 5]))
        lock_time = draw(st.sampled_from([0] * 9 + [200, 201, LOCK_TIME_THRESHOLD]))
        how = {
            "sequence": sequence,
            "lock_time": lock_time,
            "version": draw(st.sampled_from([1, 2, 2])),
        }
        transaction = spend([(point, coins[point]) for point in points], outputs, **how)
        for index, point in enumerate(points):
            hash_type = draw(st.sampled_from([SIGHASH_ALL] * 15 + [SIGHASH_NONE]))
            owner = next((key for key in KEYS if key.script == coins[point].script), KEY)
            value = coins[point].value - (draw(st.integers(0, 25)) == 0)
            transaction = sign_input(transaction, index, value, owner, hash_type)
        if draw(st.integers(0, 3)):
            for point in points:
                coins.pop(point, None)
        for index, out in enumerate(transaction.outputs):
            coins[outpoint(transaction.txid, index)] = Coin(out.value, out.script, HEIGHT, False)
        made.append(transaction)
    if draw(st.integers(0, 7)) == 0:
        made.insert(draw(st.integers(0, len(made))), draw(st.sampled_from(made)))
    return draw(st.permutations(made)) if draw(st.integers(0, 4)) == 0 else made


keys = st.sampled_from(KEYS)


@given(payment_lists(), st.data())
def test_any_block_has_the_same_outcome_both_ways(payments, data):
    known = data.draw(st.sets(st.sampled_from([payment.wtxid for payment in payments])))
    block = in_columns(payments, fees=data.draw(st.sampled_from([0, 0, 0, 10**9])))
    found = compare(block, verified=frozenset(known))
    if found.connected is None:
        return
    spent = found.connected[0]
    here, there = IndexRows.of(block, HEIGHT, spent), IndexRows.of(one_by_one(block), HEIGHT, spent)
    assert here.transactions == there.transactions
    assert sorted(here.history.rows(), key=repr) == sorted(there.history.rows(), key=repr)
    assert len(here) == len(there)
