"""Rules for blocks: each made in the smallest block that breaks it alone."""

from dataclasses import replace

import pytest

from chain.consensus.block_validation import check_block, commitment_index, connect_block
from chain.consensus.coin import Coin
from chain.consensus.errors import Reason
from chain.consensus.params import REGTEST
from chain.consensus.subsidy import block_subsidy
from chain.primitives.block import Block
from chain.primitives.merkle import merkle_root
from chain.primitives.numbers import NULL_OUTPOINT, OutPoint
from chain.primitives.script import op_return, push_number
from chain.primitives.sighash import SIGHASH_ALL
from chain.primitives.transaction import Transaction, TxIn, TxOut
from tests.builders import (
    KEY,
    Key,
    assemble,
    block_on,
    coinbase,
    commit,
    output_of,
    pay,
    sign_input,
    solve,
    spend,
)
from tests.consensus.checks import refused, validate
from tests.consensus.test_headers import LONG

PARENT = LONG[200]
HEIGHT = 201
SUBSIDY = block_subsidy(HEIGHT, REGTEST)
POINT = OutPoint(b"c" * 32 + bytes(4))
COIN = Coin(10_000, KEY.script, 150, from_coinbase=False)
COINS = {POINT: COIN}


def first(**how) -> Transaction:
    return coinbase(HEIGHT, how.pop("value", SUBSIDY), **how)


def payment(*outputs: TxOut, **how) -> Transaction:
    return spend([(POINT, COIN)], outputs or [pay(9_000)], **how)


def resolve(block: Block, **changes) -> Block:
    """Return the block with another header field and the work done again."""
    return Block(solve(replace(block.header, **changes)), block.transactions)


def test_a_block_with_a_payment_connects():
    block = block_on(PARENT, [payment()], fees=1000)
    connection = validate(block, PARENT, COINS)
    assert connection.fees == 1000
    assert connection.removed == COINS
    assert connection.spent == ((COIN,),)
    made = [output_of(block.transactions[0]), output_of(block.transactions[1])]
    assert list(connection.created) == made  # the commitment is OP_RETURN and never a coin
    assert connection.created[made[0]] == Coin(
        SUBSIDY + 1000, KEY.script, HEIGHT, from_coinbase=True
    )
    assert connection.created[made[1]] == Coin(9_000, KEY.script, HEIGHT, from_coinbase=False)


def test_proof_of_work_is_checked_first():
    block = block_on(PARENT)
    nonce = next(n for n in range(99) if replace(block.header, nonce=n).id[31] >= 0x80)
    with refused(Reason.PROOF_OF_WORK):
        validate(Block(replace(block.header, nonce=nonce), ()), PARENT)


def test_the_merkle_root_must_match():
    with refused(Reason.MERKLE_ROOT):
        validate(resolve(block_on(PARENT), merkle_root=bytes(32)), PARENT)


def test_a_repeated_tail_with_the_same_root_is_told_from_the_real_block():
    a, b = payment(), payment(pay(8_000))
    real = assemble(PARENT, commit([first(), a, b]))
    copy = Block(real.header, [*real.transactions, b])
    assert merkle_root([tx.txid for tx in copy.transactions])[0] == real.header.merkle_root
    with refused(Reason.MERKLE_DUPLICATE) as _:
        validate(copy, PARENT, COINS)
    assert Reason.MERKLE_DUPLICATE.is_mutation


def test_a_block_is_not_empty():
    with refused(Reason.BLOCK_LENGTH):
        validate(assemble(PARENT, []), PARENT)


@pytest.mark.parametrize(
    ("base_size", "reason"), [(1_000_000, None), (1_000_001, Reason.BLOCK_LENGTH)]
)
def test_a_block_without_witness_fits_a_quarter_of_the_weight(base_size, reason):
    start = first(outputs=[TxOut(SUBSIDY, KEY.script)], witness=())
    small = assemble(PARENT, [start, Transaction(1, [TxIn(POINT)], [TxOut(0, b"")])])
    filler = [TxOut(0, b"\x6a" * 400_000)] * 2
    size = assemble(
        PARENT, [start, Transaction(1, [TxIn(POINT)], [*filler, TxOut(0, b"")])]
    ).base_size
    rest = TxOut(0, bytes(base_size - size - 4))
    block = assemble(PARENT, [start, Transaction(1, [TxIn(POINT)], [*filler, rest])])
    assert small.base_size < block.base_size == base_size
    if reason is None:
        with refused(Reason.SCRIPT):  # everything but the missing witness is right
            validate(block, PARENT, COINS)
    else:
        with refused(reason):
            validate(block, PARENT, COINS)


@pytest.mark.parametrize(("over", "reason"), [(0, None), (1, Reason.BLOCK_WEIGHT)])
def test_a_block_weighs_at_most_four_million(over, reason):
    """Witness bytes of the coinbase's reserved value are fixed; OP_RETURN and items fill up."""

    def build(padding: int, witness_item: int) -> Block:
        tx = payment(pay(1), TxOut(0, op_return(b"") + b"\x61" * padding))
        fat = replace(tx.inputs[0], witness=(*tx.inputs[0].witness, bytes(witness_item)))
        return assemble(PARENT, commit([first(), Transaction(2, [fat], tx.outputs)]))

    base, item = 990_000, 300
    missing = 4_000_000 - build(base, item).weight
    base += missing // 4
    item += 4_000_000 - build(base, item).weight + over
    block = build(base, item)
    assert block.weight == 4_000_000 + over
    with refused(reason or Reason.SCRIPT):  # a third witness item can never spend P2WPKH
        validate(block, PARENT, COINS)


def test_the_first_transaction_makes_coins():
    with refused(Reason.COINBASE_MISSING):
        validate(assemble(PARENT, [payment()]), PARENT, COINS)


def test_no_other_transaction_makes_coins():
    with refused(Reason.COINBASE_MULTIPLE):
        validate(assemble(PARENT, [first(), first(extra=b"two")]), PARENT)


def test_every_transaction_is_checked_by_itself():
    twice = Transaction(2, [TxIn(POINT), TxIn(POINT)], [pay(1)])
    with refused(Reason.INPUTS_DUPLICATE):
        validate(assemble(PARENT, [first(), twice]), PARENT, COINS)


@pytest.mark.parametrize(("sigops", "reason"), [(20_000, None), (20_001, Reason.BLOCK_SIGOPS)])
def test_legacy_sigops_are_limited_wherever_they_stand(sigops, reason):
    counted = 2_000 + 1  # in an OP_RETURN output and in the coinbase's own script
    script_sig = push_number(HEIGHT) + b"\xac"
    outputs = [TxOut(SUBSIDY, b"\xac" * (sigops - counted)), TxOut(0, b"\x6a" + b"\xac" * 2_000)]
    start = Transaction(1, [TxIn(NULL_OUTPOINT, script_sig)], outputs)
    if reason is None:
        validate(assemble(PARENT, [start]), PARENT)
    else:
        with refused(reason):
            check_block(assemble(PARENT, [start]), REGTEST)


@pytest.mark.parametrize(("sigops", "reason"), [(19_999, None), (20_000, Reason.BLOCK_SIGOPS)])
def test_a_p2wpkh_input_costs_one_beside_the_legacy_ones(sigops, reason):
    start = first(outputs=[TxOut(SUBSIDY, b"\xac" * sigops)])
    block = assemble(PARENT, commit([start, payment()]))
    if reason is None:
        validate(block, PARENT, COINS)
    else:
        with refused(reason):
            validate(block, PARENT, COINS)


@pytest.mark.parametrize(("lock_time", "accepted"), [(HEIGHT - 1, True), (HEIGHT, False)])
def test_every_transaction_is_final(lock_time, accepted):
    block = block_on(PARENT, [payment(sequence=0xFFFFFFFE, lock_time=lock_time)])
    if accepted:
        validate(block, PARENT, COINS)
    else:
        with refused(Reason.NOT_FINAL):
            validate(block, PARENT, COINS)


@pytest.mark.parametrize(("over", "accepted"), [(-1, True), (0, False)])
def test_lock_times_are_compared_with_the_median_of_the_block_before(over, accepted):
    lock_time = PARENT.median_time_past + over
    block = block_on(PARENT, [payment(sequence=0, lock_time=lock_time)])
    if accepted:
        validate(block, PARENT, COINS)
    else:
        with refused(Reason.NOT_FINAL):
            validate(block, PARENT, COINS)


def test_relative_locks_are_checked_in_blocks():
    coins = {POINT: replace(COIN, height=HEIGHT - 5)}
    validate(block_on(PARENT, [payment(sequence=5)]), PARENT, coins)
    with refused(Reason.NOT_FINAL):
        validate(block_on(PARENT, [payment(sequence=6)]), PARENT, coins)


@pytest.mark.parametrize(
    ("script_sig", "accepted"),
    [
        (push_number(HEIGHT), True),
        (push_number(HEIGHT) + b"more", True),
        (push_number(HEIGHT + 1), False),
        (push_number(HEIGHT - 1), False),
        (b"\x03\xc9\x00\x00", False),  # the right number, not the shortest way
        (b"\x00\x00", False),
    ],
)
def test_the_coinbase_starts_with_the_height(script_sig, accepted):
    start = Transaction(1, [TxIn(NULL_OUTPOINT, script_sig)], [pay(SUBSIDY)])
    if accepted:
        validate(assemble(PARENT, [start]), PARENT)
    else:
        with refused(Reason.COINBASE_HEIGHT):
            validate(assemble(PARENT, [start]), PARENT)


def test_a_witness_without_a_commitment_is_unexpected():
    with refused(Reason.WITNESS_UNEXPECTED):
        validate(assemble(PARENT, [first(witness=()), payment()]), PARENT, COINS)
    with refused(Reason.WITNESS_UNEXPECTED):
        validate(assemble(PARENT, [first()]), PARENT)


def test_without_witness_no_commitment_is_needed():
    validate(assemble(PARENT, [first(witness=())]), PARENT)


@pytest.mark.parametrize("witness", [(), (bytes(31),), (bytes(33),), (bytes(32), b"")])
def test_a_commitment_needs_one_reserved_value_of_32_bytes(witness):
    with refused(Reason.WITNESS_NONCE):
        validate(assemble(PARENT, commit([first(witness=witness)])), PARENT)


def test_the_commitment_covers_witnesses_and_reserved_value():
    nonce = b"n" * 32
    good = commit([first(witness=(nonce,)), payment()], nonce)
    validate(assemble(PARENT, good), PARENT, COINS)
    with refused(Reason.WITNESS_COMMITMENT):
        validate(assemble(PARENT, commit([first(witness=(nonce,)), payment()])), PARENT, COINS)


def test_the_last_commitment_counts():
    good = commit([first(), payment()])
    right = good[0].outputs[-1]
    wrong = replace(right, script=right.script[:-1] + bytes([right.script[-1] ^ 1]))
    for outputs, accepted in (
        ([pay(SUBSIDY), wrong, right], True),
        ([pay(SUBSIDY), right, wrong], False),
    ):
        block = assemble(PARENT, [first(outputs=outputs), good[1]])
        if accepted:
            validate(block, PARENT, COINS)
        else:
            with refused(Reason.WITNESS_COMMITMENT):
                validate(block, PARENT, COINS)


@pytest.mark.parametrize(("size", "index"), [(37, None), (38, 0), (60, 0)])
def test_a_commitment_has_at_least_38_bytes(size, index):
    script = (b"\x6a\x24\xaa\x21\xa9\xed" + bytes(60))[:size]
    assert commitment_index(first(outputs=[TxOut(0, script)])) == index


def test_an_id_whose_coins_still_exist_is_not_repeated():
    start = commit([first()])[0]
    coins = {output_of(start): Coin(1, b"", 5, from_coinbase=True)}
    with refused(Reason.TXID_REPEATED):
        validate(assemble(PARENT, [start]), PARENT, coins)


def test_a_repeated_transaction_is_called_repeated_not_missing():
    paid = payment()
    coins = {output_of(paid): Coin(9_000, KEY.script, 160, from_coinbase=False)}
    with refused(Reason.TXID_REPEATED):
        validate(block_on(PARENT, [paid]), PARENT, coins)


def test_a_coin_is_spent_once_in_a_block():
    with refused(Reason.COIN_MISSING):
        validate(block_on(PARENT, [payment(), payment(pay(8_000))]), PARENT, COINS)


def test_a_coin_made_in_the_block_can_be_spent_after_it_and_not_before():
    one = payment()
    two = spend(
        [(output_of(one), Coin(9_000, KEY.script, HEIGHT, from_coinbase=False))], [pay(8_000)]
    )
    connection = validate(block_on(PARENT, [one, two]), PARENT, COINS)
    assert output_of(one) not in connection.created
    assert connection.removed == COINS
    with refused(Reason.COIN_MISSING):
        validate(block_on(PARENT, [two, one]), PARENT, COINS)


def test_a_coin_made_and_spent_in_the_block_is_not_spent_again():
    one = payment()
    made = [(output_of(one), Coin(9_000, KEY.script, HEIGHT, from_coinbase=False))]
    with refused(Reason.COIN_MISSING):
        validate(
            block_on(PARENT, [one, spend(made, [pay(1)]), spend(made, [pay(2)])]), PARENT, COINS
        )


def test_inputs_are_checked_in_blocks():
    with refused(Reason.OUT_EXCEEDS_IN):
        validate(block_on(PARENT, [payment(pay(10_001))]), PARENT, COINS)


def test_fees_stay_in_range_summed():
    low = replace(REGTEST, amount_max=SUBSIDY)
    other = OutPoint(b"d" * 36)
    coins = {POINT: replace(COIN, value=SUBSIDY), other: replace(COIN, value=SUBSIDY)}
    both = [spend([(point, coins[point])], [pay(0)]) for point in (POINT, other)]
    with refused(Reason.FEES_RANGE):
        validate(block_on(PARENT, both), PARENT, coins, params=low)


@pytest.mark.parametrize(("over", "accepted"), [(0, True), (-1, True), (1, False)])
def test_the_coinbase_takes_at_most_subsidy_and_fees(over, accepted):
    block = block_on(PARENT, [payment()], fees=1000 + over)
    if accepted:
        validate(block, PARENT, COINS)
    else:
        with refused(Reason.COINBASE_AMOUNT):
            validate(block, PARENT, COINS)


def with_input(tx: Transaction, **changes) -> Transaction:
    return Transaction(tx.version, [replace(tx.inputs[0], **changes)], tx.outputs, tx.lock_time)


SIGNATURE, PUBLIC = payment().inputs[0].witness
FALSE = "false/empty top stack"


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"script_sig": b"\x00"}, "empty scriptSig"),
        ({"witness": ()}, "program hash mismatch"),
        ({"witness": (SIGNATURE,)}, "program hash mismatch"),
        ({"witness": (SIGNATURE, PUBLIC, b"")}, "program hash mismatch"),
        ({"witness": (SIGNATURE, Key(2).public)}, "OP_EQUALVERIFY"),
        ({"witness": (bytes(521), PUBLIC)}, "Push value size"),
        ({"witness": (SIGNATURE, bytes(521))}, "Push value size"),
        ({"witness": (b"", PUBLIC)}, FALSE),
        ({"witness": (SIGNATURE[:-2] + SIGNATURE[-1:], PUBLIC)}, "Non-canonical DER"),
        ({"witness": (SIGNATURE + b"\x01", PUBLIC)}, "Non-canonical DER"),
        ({"witness": (SIGNATURE[:-1] + b"\x02", PUBLIC)}, FALSE),
        ({"sequence": 7}, FALSE),
    ],
)
def test_a_p2wpkh_spend_shows_signature_and_key_and_nothing_else(changes, detail):
    block = assemble(PARENT, commit([first(), with_input(payment(), **changes)]))
    with refused(Reason.SCRIPT, detail):
        validate(block, PARENT, COINS)


@pytest.mark.parametrize("hash_type", range(256))
def test_every_hash_type_can_sign(hash_type):
    unsigned = Transaction(2, [TxIn(POINT)], [pay(9_000)])
    signed = sign_input(unsigned, 0, COIN.value, hash_type=hash_type)
    connection = connect_block(block_on(PARENT, [signed]), PARENT, COINS, REGTEST)
    assert len(connection.checks) == 1
    if hash_type in {0, SIGHASH_ALL, 0x42, 0x83, 0xFF}:
        validate(block_on(PARENT, [signed]), PARENT, COINS)


@pytest.mark.parametrize("changes", [{"witness": ()}, {"sequence": 7}], ids=["form", "signature"])
def test_a_wrong_script_is_told_before_what_comes_behind_it(changes):
    bad = with_input(payment(), **changes)
    with refused(Reason.SCRIPT):
        validate(assemble(PARENT, commit([first(value=SUBSIDY + 1001), bad])), PARENT, COINS)


def test_a_transaction_that_was_verified_before_adds_no_checks():
    block = block_on(PARENT, [payment()])
    wtxid = block.transactions[1].wtxid
    assert connect_block(block, PARENT, COINS, REGTEST, {wtxid}).checks == []
    other_witness = with_input(payment(), witness=(SIGNATURE[:-1] + b"\x02", PUBLIC))
    assert other_witness.wtxid != wtxid
    block = block_on(PARENT, [other_witness])
    assert len(connect_block(block, PARENT, COINS, REGTEST, {wtxid}).checks) == 1


@pytest.mark.parametrize("last", [b"\x00", b"\x80"])
def test_a_key_hash_that_reads_as_zero_is_false(last):
    coins = {POINT: replace(COIN, script=b"\x00\x14" + bytes(19) + last)}
    with refused(Reason.SCRIPT, FALSE):
        validate(block_on(PARENT, [payment()]), PARENT, coins)


def test_any_script_may_stand_in_an_output():
    odd = [
        TxOut(1, b""),
        TxOut(1, b"\xff" * 50),
        TxOut(1, b"\x4c"),
        TxOut(1, bytes(10_001)),
        TxOut(1, b"\x6a"),
    ]
    connection = validate(block_on(PARENT, [payment(*odd)]), PARENT, COINS)
    scripts = [coin.script for coin in connection.created.values()]
    assert b"" in scripts
    assert b"\xff" * 50 in scripts
    assert all(len(script) <= 10_000 and script[:1] != b"\x6a" for script in scripts)
