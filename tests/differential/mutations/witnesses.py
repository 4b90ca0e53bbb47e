"""What a P2WPKH spend shows: how many items, how long, and which."""

from dataclasses import replace

from chain.consensus.coin import Coin
from chain.primitives.numbers import Amount
from chain.primitives.script import p2wpkh_script
from chain.primitives.transaction import Transaction, TxIn, TxOut
from tests.builders import KEY, Key, output_of, sign_input
from tests.differential.keys import MALFORMED_FORMS, ShownKey, hybrid, malformed, uncompressed
from tests.differential.mutation import Offers, for_each, mutation
from tests.differential.offer import (
    FALSE_ON_TOP,
    KEY_HASH,
    MISMATCH,
    NOT_DER,
    PUSH_SIZE,
    SCRIPT_SIG,
    bad,
    good,
    unknown,
)
from tests.differential.world import FEE, Spendable, World


def with_witness(tx: Transaction, *items: bytes, index: int = 0) -> Transaction:
    """Return the transaction with other witness items at one input."""
    return with_input(tx, index, witness=items)


def with_input(tx: Transaction, index: int, **changes) -> Transaction:
    inputs = list(tx.inputs)
    inputs[index] = replace(inputs[index], **changes)
    return Transaction(tx.version, inputs, tx.outputs, tx.lock_time)


def funding(world: World, script: bytes) -> tuple[Transaction, Spendable]:
    """Return a payment to `script`, and the coin that it makes."""
    coins = world.take()
    value = Amount(coins[0][1].value - FEE)
    tx = world.spend(coins, [TxOut(value, script)])
    return tx, (output_of(tx), Coin(value, script, world.height, from_coinbase=False))


def spend_of(coin: Spendable, key: Key) -> Transaction:
    """Return a spend of one coin signed by `key`, which may be none of the world's."""
    outputs = [TxOut(Amount(coin[1].value - FEE), KEY.script)]
    tx = Transaction(2, [TxIn(coin[0])], outputs)
    return sign_input(tx, 0, coin[1].value, key)


@for_each(0, 1, 3, 4, 100)
def number_of_items(world: World, count: int) -> Offers:
    tx = world.payment()
    items = (*tx.inputs[0].witness, b"", b"\x01", *[b"\x02"] * 96)[:count]
    yield bad(world.block([with_witness(tx, *items)]), MISMATCH)
    yield good(world.block([tx]))


@for_each((520, NOT_DER), (521, PUSH_SIZE))
def signature_of_size(world: World, size: int, reason: str) -> Offers:
    tx = world.payment()
    signature, key = tx.inputs[0].witness
    yield bad(world.block([with_witness(tx, signature.ljust(size, b"\x01"), key)]), reason)


@for_each((520, FALSE_ON_TOP), (521, PUSH_SIZE))
def key_of_size(world: World, size: int, reason: str) -> Offers:
    key = ShownKey(9, b"\x03" * size)
    first, coin = funding(world, key.script)
    yield bad(world.block([first, spend_of(coin, key)]), reason)


@mutation
def no_witness_on_one_of_two_inputs(world: World) -> Offers:
    tx = world.spend(world.take(2))
    yield bad(world.block([with_witness(tx, index=1)]), MISMATCH)
    yield good(world.block([tx]))


@mutation
def another_key(world: World) -> Offers:
    tx = world.payment()
    yield bad(world.block([with_witness(tx, tx.inputs[0].witness[0], Key(77).public)]), KEY_HASH)


@mutation
def signature_and_key_swapped(world: World) -> Offers:
    tx = world.payment()
    yield bad(world.block([with_witness(tx, *tx.inputs[0].witness[::-1])]), KEY_HASH)


@mutation
def too_large_a_key_is_reported_before_its_hash(world: World) -> Offers:
    tx = world.payment()
    yield bad(world.block([with_witness(tx, tx.inputs[0].witness[0], bytes(521))]), PUSH_SIZE)


@for_each((b"", FALSE_ON_TOP), (b"\x01", NOT_DER), (b"\x00", NOT_DER), (bytes(9), NOT_DER))
def signature_is(world: World, signature: bytes, reason: str) -> Offers:
    tx = world.payment()
    yield bad(world.block([with_witness(tx, signature, tx.inputs[0].witness[1])]), reason)


@for_each("uncompressed", "hybrid")
def long_key(world: World, form: str) -> Offers:
    """Policy wants compressed keys; consensus takes them all."""
    key = uncompressed(21) if form == "uncompressed" else hybrid(22)
    first, coin = funding(world, key.script)
    yield good(world.block([first, spend_of(coin, key)]))


@for_each(*range(31, 35))
def hybrid_key_of_the_wrong_parity(world: World, number: int) -> Offers:
    key = hybrid(number, wrong_parity=True)
    first, coin = funding(world, key.script)
    yield bad(world.block([first, spend_of(coin, key)]), FALSE_ON_TOP)


@for_each(*MALFORMED_FORMS)
def malformed_key(world: World, form: str) -> Offers:
    key = malformed(23, form)
    first, coin = funding(world, key.script)
    yield bad(world.block([first, spend_of(coin, key)]), FALSE_ON_TOP)
    yield good(world.block([first]))


@for_each(bytes(20), bytes(19) + b"\x80")
def coin_of_a_key_hash_that_reads_as_false(world: World, key_hash: bytes) -> Offers:
    """A locked program of zeros is false on the stack before any witness is looked at."""
    first, coin = funding(world, p2wpkh_script(key_hash))
    tx = spend_of(coin, KEY)
    yield bad(world.block([first, tx]), FALSE_ON_TOP)
    yield bad(world.block([first, with_witness(tx)]), FALSE_ON_TOP)
    yield bad(world.block([first, with_input(tx, 0, script_sig=b"\x51")]), FALSE_ON_TOP)


@for_each(b"\x00", b"\x51", b"\x01\x00", b"\x4c\x00", b"\x61")
def script_sig_that_runs(world: World, script: bytes) -> Offers:
    tx = world.payment()
    signed = with_input(tx, 0, script_sig=script)
    yield bad(world.block([signed]), SCRIPT_SIG)
    yield bad(world.block([with_witness(signed)]), SCRIPT_SIG)


@for_each(b"\x6a", b"\x75", b"\x4c", b"\x05\x01", b"\x63", b"\x51" * 1001, b"\xff" * 10_001)
def script_sig_that_fails(world: World, script: bytes) -> Offers:
    """It runs before the witness program is looked at."""
    yield unknown(world.block([with_input(world.payment(), 0, script_sig=script)]))
