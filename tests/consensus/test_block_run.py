"""Small blocks validated together: verdicts and effects as of one block after the other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.consensus.block_run import ConnectedRun, connect_run, may_be_in_run
from chain.consensus.block_validation import (
    check_block_body,
    check_block_context,
    connect_block,
)
from chain.consensus.coin import Coin
from chain.consensus.entry import BlockTreeEntry
from chain.consensus.errors import InvalidError, Reason
from chain.consensus.p2wpkh_block import spend_records
from chain.consensus.params import REGTEST
from chain.consensus.spend import verify_checks
from chain.consensus.subsidy import block_subsidy
from chain.ledger.db.index.index_writer import IndexRows
from chain.primitives import compiled_block
from chain.primitives.block import Block, Header, decode_block
from chain.primitives.numbers import AMOUNT_MAX, NULL_OUTPOINT, OutPoint, outpoint
from chain.primitives.script import op_return, push, push_number
from chain.primitives.sighash import SIGHASH_NONE
from chain.primitives.transaction import SEQUENCE_LOCK_OFF, Transaction, TxIn, TxOut
from tests.builders import (
    KEY,
    Key,
    assemble,
    block_on,
    coinbase,
    commit,
    pay,
    sign_input,
    solve,
    spend,
)
from tests.consensus.test_headers import LONG

PARENT = LONG[200]
FIRST = 201
MATURITY = REGTEST.coinbase_maturity_blocks
KEYS = [Key(number) for number in range(1, 4)]
VALUE = 10_000
POINTS = [OutPoint(b"%032d" % number + bytes(4)) for number in range(60)]
COINS = {
    point: Coin(VALUE + number, KEYS[number % 3].script, 90 + number % 13, number % 4 == 0)
    for number, point in enumerate(POINTS)
}
SUBSIDY = block_subsidy(FIRST, REGTEST)


@pytest.fixture(autouse=True)
def _compiled():
    if compiled_block._reader_or_none() is None:
        pytest.skip("no compiled code on this machine")


def payment(number: int, *outputs: TxOut, **how) -> Transaction:
    """Spend a coin; its key signs. The default leaves a fee of 7 and a bit."""
    point = POINTS[number]
    key = KEYS[number % 3]
    return spend([(point, COINS[point])], outputs or [pay(VALUE - 7, key)], key=key, **how)


Make = Callable[[BlockTreeEntry], Block]


def block_of(*payments: Transaction, **how) -> Make:
    return lambda parent: block_on(parent, payments, **how)


def chain_of(makers: Sequence[Make]) -> list[Block]:
    """Make blocks, one upon the other, and read them from their bytes."""
    blocks, parent = [], PARENT
    for make in makers:
        block = decode_block(make(parent).raw)
        parent = BlockTreeEntry(block.header, parent)
        blocks.append(block)
    return blocks


@dataclass
class OneByOne:
    """What the readable rules said of some blocks."""

    error: InvalidError | None
    spent: list
    coins: dict
    checks: list
    check_ends: list[int]
    rows: IndexRows


def one_by_one(blocks: Sequence[Block], coins=COINS, verified=frozenset()) -> OneByOne:
    """Connect copies of the blocks, in which nothing is in columns."""
    result = OneByOne(None, [], dict(coins), [], [], IndexRows())
    parent = PARENT
    for original in blocks:
        block = Block(original.header, decode_block(original.raw).transactions)
        try:
            check_block_body(block, REGTEST)
            check_block_context(block, parent)
            connected = connect_block(block, parent, result.coins, REGTEST, verified)
        except InvalidError as error:
            result.error = error
            return result
        result.spent.append([tuple(coins) for coins in connected.spent])
        for point in connected.removed:
            del result.coins[point]
        result.coins |= connected.created
        result.checks += spend_records(connected.checks)
        result.check_ends.append(len(result.checks))
        parent = BlockTreeEntry(block.header, parent)
        result.rows.extend(IndexRows.of(block, parent.height, connected.spent))
    return result


def sorted_rows(rows: IndexRows) -> tuple:
    starts = range(0, len(rows.transactions), 5)
    transactions = [tuple(rows.transactions[at : at + 5]) for at in starts]
    history = [(*row[:4], row[4] or b"") for row in rows.history.rows()]
    return sorted(transactions), sorted(history), len(rows)


def together(blocks: Sequence[Block], coins=COINS, verified=frozenset()) -> ConnectedRun | None:
    """Connect the blocks together, and compare the result with that of one by one."""
    plain = one_by_one(blocks, coins, verified)

    def find(points):
        return {point: coins[point] for point in points if point in coins}

    run = connect_run(blocks, FIRST, find, REGTEST, verified)
    if run is None:
        return None
    assert plain.error is None, "nothing that breaks a rule may be taken"
    assert [[tuple(coins) for coins in spent] for spent in run.spent] == plain.spent
    left = {point: coin for point, coin in coins.items() if point not in run.removed}
    assert left | run.created == plain.coins
    assert spend_records(run.checks) == plain.checks
    assert run.check_ends == plain.check_ends
    rows = IndexRows()
    rows.add_run(run, FIRST)
    assert sorted_rows(rows) == sorted_rows(plain.rows)
    return run


def refused(blocks: Sequence[Block], reason: Reason) -> None:
    """Check that the readable rules refuse the blocks for this reason, and the run leaves them."""
    error = one_by_one(blocks).error
    assert error is not None
    assert error.reason is reason
    assert together(blocks) is None


def usual_makers() -> list[Make]:
    return [
        block_of(),
        block_of(payment(1), payment(3), fees=15),
        block_of(extra=b"more"),
        block_of(payment(5, pay(1), TxOut(0, op_return(b"note")), TxOut(3, b"\x51"))),
    ]


def test_usual_blocks_are_connected_together():
    blocks = chain_of(usual_makers())
    run = together(blocks)
    assert run is not None
    assert run.check_ends == [0, 2, 2, 3]
    verify_checks(run.checks)
    assert all(map(may_be_in_run, chain_of(usual_makers())))


def test_no_transaction_object_is_made_for_usual_blocks():
    blocks = chain_of(usual_makers())
    assert connect_run(blocks, FIRST, lambda _: {}, REGTEST, ()) is None, "the coins are missing"
    run = connect_run(blocks, FIRST, lambda points: {p: COINS[p] for p in points}, REGTEST, ())
    spend_records(run.checks)
    IndexRows().add_run(run, FIRST)
    assert all(block.tables is not None for block in blocks)


def test_blocks_without_payments_are_connected_together():
    run = together(chain_of([block_of(extra=bytes([number])) for number in range(2, 9)]))
    assert run is not None
    assert (list(run.checks), run.check_ends) == ([], [0] * 7)


def test_a_coin_of_a_block_may_be_spent_in_a_later_one_of_the_run():
    first = payment(1, pay(100), pay(200))
    made = [outpoint(first.txid, index) for index in range(2)]
    coin = Coin(200, KEY.script, FIRST + 1, False)
    second = spend([(made[1], coin)], [pay(150)])
    run = together(chain_of([block_of(), block_of(first), block_of(), block_of(second)]))
    assert run is not None
    assert made[0] in run.created
    assert made[1] not in run.created
    assert run.spent[3] == [(coin,)]
    refused(chain_of([block_of(second), block_of(first)]), Reason.COIN_MISSING)


def test_inputs_of_several_coins_in_several_blocks():
    def of(*numbers):
        coins = [(POINTS[number], COINS[POINTS[number]]) for number in numbers]
        return spend(coins, [pay(5, KEYS[1])], key=KEYS[1])

    blocks = chain_of([block_of(of(1, 7), payment(3)), block_of(), block_of(of(13, 19, 22))])
    run = together(blocks)
    assert run is not None
    assert run.check_ends == [3, 3, 6]
    for number, block, payment_number, index in [(1, 0, 1, 1), (2, 0, 2, 0), (4, 2, 1, 1)]:
        check = run.checks[number]
        payments = blocks[block].transactions
        assert (check.transaction, check.index) == (payments[payment_number], index)


def test_transactions_that_were_verified_before_add_no_checks():
    payments = [payment(number) for number in (1, 3, 5, 7)]
    wtxids = [tx.wtxid for tx in payments]
    for known in (wtxids, wtxids[:1], wtxids[1:3], wtxids[3:]):
        makers = [block_of(payments[0]), block_of(*payments[1:3]), block_of(payments[3])]
        run = together(chain_of(makers), verified=frozenset(known))
        assert run is not None
        assert len(run.checks) == len(wtxids) - len(known)


@pytest.mark.parametrize(("age", "usual"), [(MATURITY - 1, False), (MATURITY, True)])
@pytest.mark.parametrize("place", range(3))
def test_each_block_has_its_own_height_for_maturity(age, usual, place):
    height = FIRST + place - age
    coins = {POINTS[1]: Coin(VALUE, KEYS[1].script, height, True)}
    spending = spend([(POINTS[1], coins[POINTS[1]])], [pay(1)], key=KEYS[1])
    makers = [block_of(), block_of(), block_of()]
    makers[place] = block_of(spending)
    assert (together(chain_of(makers), coins) is not None) is usual
    error = one_by_one(chain_of(makers), coins).error
    assert (error is None) is usual


def test_a_coinbase_of_the_run_is_not_mature():
    first = block_on(PARENT)
    coin = Coin(SUBSIDY, KEY.script, FIRST, True)
    spending = spend([(outpoint(first.transactions[0].txid, 0), coin)], [pay(1)])
    refused(chain_of([lambda _: first, block_of(spending)]), Reason.COIN_IMMATURE)


def changed_coinbase(change: Callable[[Transaction, int], Transaction], *payments) -> Make:
    """Make a block with another coinbase, to which the commitment is added."""

    def make(parent):
        height = parent.height + 1
        changed = change(coinbase(height, SUBSIDY), height)
        return assemble(parent, commit([changed, *payments], nonce_of(changed)))

    return make


def nonce_of(first: Transaction) -> bytes:
    return first.inputs[0].witness[0] if first.inputs[0].witness else bytes(32)


def with_input(**fields):
    return lambda first, _: Transaction(
        first.version, [replace(first.inputs[0], **fields)], first.outputs, first.lock_time
    )


def with_outputs(*outputs):
    return lambda first, _: Transaction(first.version, first.inputs, outputs, first.lock_time)


def with_script(size):
    def change(first, height):
        start = push_number(height)
        return with_input(script_sig=start + bytes(size - len(start)))(first, height)

    return change


def with_lock(lock_time, sequence):
    def change(first, _):
        inputs = [replace(first.inputs[0], sequence=sequence)]
        return Transaction(first.version, inputs, first.outputs, lock_time)

    return change


def with_second_input(first, _):
    inputs = [*first.inputs, TxIn(POINTS[1])]
    return Transaction(first.version, inputs, first.outputs, first.lock_time)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (with_outputs(pay(SUBSIDY + 1)), Reason.COINBASE_AMOUNT),
        (with_outputs(pay(SUBSIDY), pay(1)), Reason.COINBASE_AMOUNT),
        (with_outputs(pay(-1), pay(5)), Reason.VALUE_NEGATIVE),
        (with_outputs(pay(AMOUNT_MAX + 1)), Reason.VALUE_TOO_LARGE),
        (with_outputs(pay(AMOUNT_MAX), pay(1)), Reason.VALUE_SUM_TOO_LARGE),
        (with_script(101), Reason.COINBASE_LENGTH),
        (with_input(script_sig=push_number(FIRST)), Reason.COINBASE_HEIGHT),
        (with_input(script_sig=push_number(FIRST + 2)), Reason.COINBASE_HEIGHT),
        (with_input(script_sig=b"\x51" + push_number(FIRST + 1)), Reason.COINBASE_HEIGHT),
        (with_input(witness=(bytes(31),)), Reason.WITNESS_NONCE),
        (with_input(witness=(bytes(33),)), Reason.WITNESS_NONCE),
        (with_input(witness=(bytes(32), bytes(32))), Reason.WITNESS_NONCE),
        (with_input(witness=()), Reason.WITNESS_NONCE),
        (with_input(outpoint=POINTS[1]), Reason.COINBASE_MISSING),
        (with_second_input, Reason.COINBASE_MISSING),
        (with_lock(FIRST + 1, 0), Reason.NOT_FINAL),
        (with_outputs(TxOut(0, b"\xae" * 999), TxOut(0, b"\xac" * 21)), Reason.BLOCK_SIGOPS),
    ],
)
def test_a_coinbase_that_breaks_a_rule_is_left_to_the_other_way(change, reason):
    before, after = block_of(payment(1), fees=8), block_of()
    refused(chain_of([before, changed_coinbase(change), after]), reason)
    without_fee = payment(3, pay(VALUE + 3))
    refused(chain_of([before, changed_coinbase(change, without_fee), after]), reason)


@pytest.mark.parametrize(
    ("change", "is_taken"),
    [
        (with_outputs(pay(SUBSIDY)), True),
        (with_outputs(pay(SUBSIDY - 1), TxOut(0, b"\x51"), TxOut(1, b"")), True),
        (with_outputs(pay(0)), True),
        (with_outputs(), True),  # the commitment is an output
        (with_script(100), True),
        (with_input(witness=(b"\x07" * 32,)), True),
        (with_input(sequence=0), True),
        (with_outputs(TxOut(0, b"\xae" * 999), TxOut(0, b"\xac" * 20)), True),
        (with_lock(FIRST + 1, 0xFFFFFFFF), False),  # right, but unusual
        (with_lock(FIRST, 0), False),
    ],
)
def test_a_coinbase_that_breaks_none_is_taken_if_it_is_usual(change, is_taken):
    blocks = chain_of([block_of(), changed_coinbase(change), block_of()])
    assert one_by_one(blocks).error is None
    assert (together(blocks) is not None) is is_taken


def test_the_last_commitment_counts():
    def change(first, _):
        return with_outputs(pay(1), TxOut(0, b"\x6a\x24\xaa\x21\xa9\xed" + bytes(33)))(first, _)

    assert together(chain_of([block_of(), changed_coinbase(change)])) is not None

    def make(parent):
        first, *rest = block_on(parent, [payment(1)]).transactions
        later = TxOut(0, first.outputs[-1].script[:6] + bytes(32))
        return assemble(parent, [Transaction(2, first.inputs, [*first.outputs, later]), *rest])

    refused(chain_of([block_of(), make]), Reason.WITNESS_COMMITMENT)


def test_a_block_without_commitment_is_left_to_the_other_way():
    def without(parent, *payments):
        height = parent.height + 1
        return assemble(parent, [coinbase(height, SUBSIDY, witness=()), *payments])

    blocks = chain_of([block_of(), without, block_of()])
    assert one_by_one(blocks).error is None
    assert together(blocks) is None
    spending = lambda parent: without(parent, payment(1))  # noqa: E731
    refused(chain_of([block_of(), spending]), Reason.WITNESS_UNEXPECTED)


def with_header(**fields) -> Make:
    def make(parent):
        block = block_on(parent, [payment(1)])
        return Block(solve(replace_header(block.header, **fields)), block.transactions)

    return make


def replace_header(header: Header, **fields) -> Header:
    names = ("version", "previous", "merkle_root", "time", "bits", "nonce")
    return Header(**{name: getattr(header, name) for name in names} | fields)


def test_a_wrong_merkle_root_is_left_to_the_other_way():
    makers = [block_of(), with_header(merkle_root=bytes(32)), block_of()]
    refused(chain_of(makers), Reason.MERKLE_ROOT)


def test_a_mutated_tree_is_left_to_the_other_way():
    def make(parent):
        block = block_on(parent, [payment(1), payment(3)])
        return Block(block.header, [*block.transactions, block.transactions[-1]])

    refused(chain_of([block_of(), make]), Reason.MERKLE_DUPLICATE)


def test_a_block_that_weighs_too_much_is_left_to_the_other_way():
    def of(size):
        scripts = [bytes(50_000)] * 19 + [bytes(size)]
        return changed_coinbase(with_outputs(*[TxOut(0, b"\x6a" + script) for script in scripts]))

    spare = 1_000_000 - len(chain_of([of(40_000)])[0].raw)
    assert together(chain_of([of(40_000 + spare), block_of()])) is not None
    refused(chain_of([block_of(), of(40_100 + spare)]), Reason.BLOCK_LENGTH)


def changed_witness(number: int, *witness: bytes) -> Transaction:
    made = payment(number)
    return Transaction(2, [replace(made.inputs[0], witness=witness)], made.outputs)


def with_script_sig(made: Transaction) -> Transaction:
    """Add what the signature does not commit to."""
    return Transaction(2, [replace(made.inputs[0], script_sig=b"\x51")], made.outputs)


def with_moved_item() -> Transaction:
    """Spend two coins; together their witnesses have the right items, but not each its own."""
    made = spend([(POINTS[n], COINS[POINTS[n]]) for n in (1, 7)], [pay(5)], key=KEYS[1])
    first, second = made.inputs
    (signature, key), items = first.witness, second.witness
    inputs = [replace(first, witness=(signature,)), replace(second, witness=(key, *items))]
    return Transaction(2, inputs, made.outputs)


WRONG_PAYMENTS = [
    ([with_script_sig(payment(1))], Reason.SCRIPT),
    ([with_moved_item()], Reason.SCRIPT),
    ([payment(1), payment(1)], Reason.COIN_MISSING),
    ([payment(1), payment(1, pay(5))], Reason.COIN_MISSING),
    ([payment(1, pay(VALUE + 2))], Reason.OUT_EXCEEDS_IN),
    ([payment(1, pay(-1), pay(5))], Reason.VALUE_NEGATIVE),
    ([payment(1, pay(AMOUNT_MAX), pay(1))], Reason.VALUE_SUM_TOO_LARGE),
    ([spend([(OutPoint(bytes(36)), COINS[POINTS[1]])], [pay(1)])], Reason.COIN_MISSING),
    ([spend([(NULL_OUTPOINT, COINS[POINTS[1]])], [pay(1)])], Reason.COINBASE_MULTIPLE),
    ([payment(1, lock_time=FIRST + 20, sequence=0)], Reason.NOT_FINAL),
    ([payment(1, sequence=150)], Reason.NOT_FINAL),
    ([changed_witness(1, b"", KEYS[1].public)], Reason.SCRIPT),
    ([changed_witness(1, b"\x30\x01", KEYS[2].public)], Reason.SCRIPT),
    ([changed_witness(1, KEYS[1].public)], Reason.SCRIPT),
    ([changed_witness(1)], Reason.SCRIPT),
    ([changed_witness(1, b"\x01", b"\x30\x01", KEYS[1].public)], Reason.SCRIPT),
]


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize(("payments", "reason"), WRONG_PAYMENTS)
def test_payments_that_break_a_rule_are_left_to_the_other_way(payments, reason, place):
    makers = [block_of(payment(13)), block_of(), block_of(payment(7))]
    makers[place] = block_of(*payments, payment(19))
    refused(chain_of(makers), reason)


def test_a_coin_may_not_be_spent_in_two_blocks():
    refused(chain_of([block_of(payment(1)), block_of(payment(1, pay(5)))]), Reason.COIN_MISSING)


@pytest.mark.parametrize(
    "unusual",
    [
        payment(1, lock_time=FIRST, sequence=0xFFFFFFFE),  # final at the second height, not before
        payment(1, sequence=5),
        sign_input(payment(1), 0, COINS[POINTS[1]].value, KEYS[1], SIGHASH_NONE),
    ],
)
def test_unusual_payments_are_left_to_the_other_way(unusual):
    blocks = chain_of([block_of(), block_of(unusual)])
    assert one_by_one(blocks).error is None
    assert together(blocks) is None


def test_a_relative_lock_that_is_off_is_usual():
    blocks = chain_of([block_of(), block_of(payment(1, sequence=SEQUENCE_LOCK_OFF))])
    assert together(blocks) is not None


def test_other_outputs_may_not_be_spent_in_the_run():
    first = payment(1, TxOut(5, b"\x51"))
    open_to_all = Transaction(2, [TxIn(outpoint(first.txid, 0))], [pay(1)])
    blocks = chain_of([block_of(first), block_of(open_to_all)])
    assert one_by_one(blocks).error is None
    assert together(blocks) is None


def test_the_fees_of_one_block_are_not_those_of_another():
    rich = payment(1, pay(1))  # a fee of VALUE
    assert together(chain_of([block_of(rich, fees=VALUE), block_of()])) is not None
    refused(chain_of([block_of(rich), block_of(fees=1)]), Reason.COINBASE_AMOUNT)
    refused(chain_of([block_of(fees=1), block_of(rich)]), Reason.COINBASE_AMOUNT)
    refused(chain_of([block_of(rich, fees=VALUE + 1), block_of()]), Reason.COINBASE_AMOUNT)


def test_a_payment_of_one_block_may_not_be_paid_by_a_surplus_in_another():
    rich, poor = payment(1, pay(1)), payment(3, pay(VALUE + 4))
    refused(chain_of([block_of(rich), block_of(poor)]), Reason.OUT_EXCEEDS_IN)


def test_a_wrong_signature_is_found_by_its_check():
    wrong = sign_input(payment(3), 0, 1, KEYS[0])
    run = together(chain_of([block_of(payment(1)), block_of(), block_of(wrong, payment(5))]))
    assert run is not None
    assert [check.is_right() for check in run.checks] == [True, False, True]
    assert run.check_ends == [1, 1, 3]


@pytest.mark.parametrize(("count", "usual"), [(14, True), (15, False)])
def test_blocks_with_few_transactions_may_be_in_a_run(count, usual):
    [block] = chain_of([block_of(*[payment(number) for number in range(count)])])
    assert block.transaction_count == count + 1
    assert may_be_in_run(block) is usual


@pytest.mark.parametrize(("size", "usual"), [(16_000, True), (16_001, False)])
def test_blocks_with_few_bytes_may_be_in_a_run(size, usual):
    def of(length):
        [block] = chain_of([changed_coinbase(with_outputs(TxOut(0, push(bytes(length)))))])
        return block

    spare = size - len(of(10_000).raw)
    block = of(10_000 + spare)
    assert len(block.raw) == size
    assert may_be_in_run(block) is usual


def test_a_block_made_of_objects_may_not_be_in_a_run():
    block = block_on(PARENT)
    assert not may_be_in_run(block)
    assert connect_run([block], FIRST, dict, REGTEST, frozenset()) is None


def some_maker(random: Random, unspent: list[int]) -> Make:
    payments = []
    for _ in range(random.choice([0, 0, 1, 1, 2, 4])):
        number = unspent.pop(random.randrange(len(unspent)))
        outputs = [pay(random.choice([0, 1, 50, VALUE // 2]), KEYS[random.randrange(3)])]
        if random.random() < 0.3:
            outputs.append(TxOut(0, op_return(random.randbytes(5))))
        if random.random() < 0.05:
            outputs.append(pay(VALUE + 100))
        payments.append(payment(number, *outputs))
    if len(payments) > 1 and random.random() < 0.1:
        payments.append(payments[0])
    fees = random.choice([0, 0, 0, 1, 10**9])
    return block_of(*payments, fees=fees if random.random() < 0.2 else 0)


@given(st.randoms(use_true_random=False), st.integers(1, 8))
def test_any_blocks_have_the_same_effects_both_ways(random, count):
    unspent = [number for number in range(60) if not COINS[POINTS[number]].from_coinbase]
    random.shuffle(unspent)
    together(chain_of([some_maker(random, unspent) for _ in range(count)]))
