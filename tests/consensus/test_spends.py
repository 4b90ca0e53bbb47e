"""Spends in blocks: every kind of script, signatures verified later, and who has the last word."""

from dataclasses import replace

import pytest

from chain.consensus.block_validation import connect_block
from chain.consensus.coin import Coin
from chain.consensus.errors import InvalidError, Reason
from chain.consensus.params import REGTEST
from chain.consensus.spend import SpendCheck, first_error, spend_checks, verify_checks
from chain.ledger.signature_verifier import Verifier
from chain.primitives.hashes import hash160
from chain.primitives.numbers import Amount
from chain.primitives.script import push
from chain.primitives.transaction import Transaction, TxIn, TxOut, decode_transaction
from chain.script.checks import DirectChecker
from chain.script.errors import ScriptError, ScriptVerifyError
from chain.script.flags import CONSENSUS
from chain.script.hashes import TransactionHashes
from chain.script.spend import verify_spend
from tests.builders import block_on, pay
from tests.consensus.checks import refused, validate
from tests.consensus.test_blocks import COIN, COINS, PARENT, POINT, payment, with_input
from tests.script.core_format import parse_script
from tests.script.locks import CONTEXTS, KEYS, Case, Draft, Sign, spend_script
from tests.script.random_spends import SpendMaker
from tests.script.recipes import recipes


def of_case(case: Case) -> TransactionHashes:
    coins = [Coin(Amount(value), script, 1, False) for value, script in case.coins]
    return TransactionHashes(decode_transaction(case.raw), coins)


def verdict(spends: TransactionHashes) -> str:
    """Return OK or the text, as a block would have it of this one transaction."""
    checks: list[SpendCheck] = []
    try:
        checks.extend(spend_checks(spends.transaction, spends.coins))
        verify_checks(checks)
    except InvalidError as error:
        earlier = first_error(checks)
        return (earlier or error).detail
    return "OK"


def by_engine(hashes: TransactionHashes) -> str:
    """Return what the engine alone says, one input after the other."""
    for index in range(len(hashes.coins)):
        try:
            verify_spend(hashes, index, CONSENSUS, DirectChecker())
        except ScriptVerifyError as error:
            return str(error.error)
    return "OK"


@pytest.mark.parametrize("seed", range(4))
def test_queued_signatures_end_as_single_ones_do_error_and_all(seed):
    maker = SpendMaker(f"queue {seed}")
    for _ in range(400):
        spends = of_case(maker.next())
        assert verdict(spends) == by_engine(spends)


def test_every_error_of_a_script_is_the_blocks_reason():
    for recipe in recipes():
        spends = of_case(recipe.case)
        assert by_engine(spends) == verdict(spends) == ScriptError[recipe.error].value


# what the way for P2WPKH leaves to the engine


SIGNATURE, PUBLIC = payment().inputs[0].witness


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"script_sig": b"\x6a"}, ScriptError.OP_RETURN),
        ({"script_sig": b"\x51"}, ScriptError.WITNESS_MALLEATED),
        ({"script_sig": b"\x00\x69"}, ScriptError.VERIFY),
        ({"witness": (SIGNATURE, PUBLIC, b"")}, ScriptError.WITNESS_PROGRAM_MISMATCH),
        ({"witness": (bytes(521), KEYS[0].compressed)}, ScriptError.PUSH_SIZE),
        ({"witness": (SIGNATURE[:-1], KEYS[0].compressed)}, ScriptError.EQUALVERIFY),
        ({"witness": (b"\x01", PUBLIC)}, ScriptError.SIG_DER),
        ({"witness": (b"", PUBLIC)}, ScriptError.EVAL_FALSE),
        ({"sequence": 7}, ScriptError.EVAL_FALSE),
    ],
)
def test_a_p2wpkh_spend_fails_with_what_its_scripts_fail_with(changes, error):
    block = block_on(PARENT, [with_input(payment(), **changes)])
    with refused(Reason.SCRIPT, error):
        validate(block, PARENT, COINS)


def test_a_p2wpkh_spend_in_its_right_form_never_reaches_the_engine(monkeypatch):
    monkeypatch.setattr("chain.consensus.spend.verify_spend", None)
    validate(block_on(PARENT, [payment()]), PARENT, COINS)


# blocks with scripts


def script_block(context: str, script: bytes, items, **draft):
    """Return a block that spends a coin locked by `script`, and the coins before it."""
    case = spend_script(Draft(**draft), context, script, items)
    tx = decode_transaction(case.raw)
    coins = {
        txin.outpoint: replace(COIN, value=Amount(value), script=locked)
        for txin, (value, locked) in zip(tx.inputs, case.coins, strict=True)
    }
    return block_on(PARENT, [tx], fees=1000), coins


@pytest.mark.parametrize("context", CONTEXTS)
def test_every_kind_of_output_can_be_spent(context):
    shown = KEYS[0].xonly if context == "tapscript" else KEYS[0].compressed
    script = push(shown) + parse_script("CHECKSIG")
    block, coins = script_block(context, script, [Sign(KEYS[0])])
    assert len(validate(block, PARENT, coins).checks) == 1
    block, coins = script_block(context, script, [Sign(KEYS[1])])
    error = ScriptError.SCHNORR_SIG if context == "tapscript" else ScriptError.EVAL_FALSE
    with refused(Reason.SCRIPT, error):
        validate(block, PARENT, coins)


@pytest.mark.parametrize("context", ["base", "p2sh", "v0", "wrapped_v0"])
def test_a_block_with_a_signature_that_is_wrong_by_intent_is_valid(context):
    script = push(KEYS[0].compressed) + parse_script("CHECKSIG NOT")
    block, coins = script_block(context, script, [Sign(KEYS[1])])
    assert validate(block, PARENT, coins).checks == []


def test_a_script_that_fails_is_told_before_a_missing_coin_behind_it():
    script = push(KEYS[0].compressed) + parse_script("CHECKSIG")
    block, coins = script_block("base", script, [Sign(KEYS[1])])
    missing = Transaction(2, [TxIn(POINT)], [pay(1)])
    block = block_on(PARENT, [*block.transactions[1:], missing], fees=1000)
    with refused(Reason.SCRIPT, ScriptError.EVAL_FALSE):
        validate(block, PARENT, coins)


def test_a_script_that_fails_is_told_before_the_coinbases_amount():
    block, coins = script_block("base", b"\x6a\x51", [])
    block = block_on(PARENT, block.transactions[1:], fees=1001)
    with refused(Reason.SCRIPT, ScriptError.OP_RETURN):
        validate(block, PARENT, coins)


@pytest.mark.parametrize(("count", "over"), [(199, False), (200, True)])
def test_signature_operations_count_before_scripts_run_and_though_they_are_verified(count, over):
    """Each input and each output costs 20 keys times four, and 1,000 of them are the limit."""
    redeem = parse_script("0 0 0 20 CHECKMULTISIG 1")  # it would fail: a stack too small
    point = [replace_index(POINT, at) for at in range(count)]
    lock = b"\xa9\x14" + hash160(redeem) + b"\x87"
    coins = {each: replace(COIN, script=lock) for each in point}
    inputs = [TxIn(each, push(redeem)) for each in point]
    outputs = [TxOut(Amount(1), parse_script("CHECKMULTISIG"))] * 801
    tx = Transaction(2, inputs, outputs)
    block = block_on(PARENT, [tx])
    if over:
        with refused(Reason.BLOCK_SIGOPS):
            connect_block(block, PARENT, coins, REGTEST, {tx.wtxid})
    else:
        with refused(Reason.SCRIPT):
            connect_block(block, PARENT, coins, REGTEST)


def replace_index(point: bytes, index: int) -> bytes:
    return point[:32] + index.to_bytes(4, "little")


# the last word


def check_of(tx: Transaction, *signed: bytes) -> SpendCheck:
    """Return a check of what it is given, which belongs to the spend that `tx` makes."""
    return SpendCheck(tx, [COIN], 0, *signed or (b"", b"", b""))


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [4, 40])
def test_a_refused_check_that_a_second_run_forgives_condemns_nothing(threads, count):
    (right,) = spend_checks(payment(), [COIN])
    forgiven = check_of(payment())
    wrong = check_of(with_input(payment(), sequence=7), right.key, right.signature, bytes(32))
    verifier = Verifier(threads)
    try:
        checks = [right] * count
        checks[1] = forgiven
        assert verifier.start(checks).finish() is None
        checks[2] = wrong
        error = verifier.start(checks).finish()
        assert error is not None
        assert error.detail == ScriptError.EVAL_FALSE
    finally:
        verifier.close()


def test_the_first_spend_that_fails_in_the_block_is_the_reason():
    scripts = (b"\x6a", b"\x00\x69")
    wrong = [check_of(with_input(payment(), script_sig=script)) for script in scripts]
    right = list(spend_checks(payment(), [COIN]))
    verifier = Verifier(2)
    try:
        checks = right * 20 + wrong + right * 20
        assert verifier.start(checks).finish().detail == ScriptError.OP_RETURN
        assert verifier.start(checks[::-1]).finish().detail == ScriptError.VERIFY
    finally:
        verifier.close()
