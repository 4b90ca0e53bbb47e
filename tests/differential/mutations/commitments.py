"""The witness commitment of BIP141, in all forms that it can have or miss."""

from collections.abc import Sequence
from dataclasses import replace

from chain.consensus.block_validation import COMMITMENT_PREFIX, witness_commitment_script
from chain.primitives.block import Block, Header
from chain.primitives.numbers import NULL_HASH, Amount
from chain.primitives.transaction import Transaction, TxOut
from tests.builders import ZERO_NONCE
from tests.differential.mutation import Offers, for_each, mutation
from tests.differential.mutations.witnesses import with_witness
from tests.differential.offer import bad, good
from tests.differential.world import World

NONCE = "bad-witness-nonce-size"
MATCH = "bad-witness-merkle-match"
UNEXPECTED = "unexpected-witness"


def commitment(transactions: Sequence[Transaction], nonce: bytes = ZERO_NONCE) -> bytes:
    """Return the right script for these transactions, whatever the coinbase is."""
    header = Header(4, NULL_HASH, NULL_HASH, 0, 0, 0)
    return witness_commitment_script(Block(header, transactions).witness_root, nonce)


def block_with(world: World, payments, scripts, *, witness=(ZERO_NONCE,), value=0) -> Block:
    """Return a block whose coinbase has these scripts behind its own output."""
    first = world.first(witness=witness)
    more = [TxOut(Amount(value), script) for script in scripts]
    return world.assemble([Transaction(2, first.inputs, [*first.outputs, *more]), *payments])


@mutation
def no_commitment(world: World) -> Offers:
    pay = world.payment()
    yield bad(block_with(world, [pay], [], witness=()), UNEXPECTED)
    yield bad(block_with(world, [pay], []), UNEXPECTED)
    yield bad(block_with(world, [], []), UNEXPECTED)
    yield good(block_with(world, [], [], witness=()))


SHORT_FORMS = {
    "37 bytes": lambda right: right[:-1],
    "prefix only": lambda right: right[:6],
    "other length byte": lambda right: b"\x6a\x23" + right[2:],
    "pushdata1": lambda right: b"\x6a\x4c\x24" + right[2:],
    "other magic": lambda right: right[:5] + b"\xee" + right[6:],
    "no return": lambda right: b"\x51" + right[1:],
    "empty": lambda right: b"",
}


@for_each(*SHORT_FORMS)
def script_that_is_no_commitment(world: World, form: str) -> Offers:
    payments = [world.payment()]
    right = commitment([payments[0], *payments])
    yield bad(block_with(world, payments, [SHORT_FORMS[form](right)]), UNEXPECTED)
    yield good(block_with(world, payments, [SHORT_FORMS[form](right), right]))


@for_each(1, 2, 100, 10_000)
def commitment_with_more_bytes_behind(world: World, more: int) -> Offers:
    payments = [world.payment()]
    right = commitment([payments[0], *payments])
    yield good(block_with(world, payments, [right + bytes(more)]))


@for_each("root", "nonce", "first byte", "last byte", "of the txids")
def wrong_commitment(world: World, how: str) -> Offers:
    payments = [world.payment()]
    right = commitment([payments[0], *payments])
    wrong = {
        "root": COMMITMENT_PREFIX + Block(world.tip.header, [payments[0]] * 2).witness_root,
        "nonce": commitment([payments[0], *payments], b"\x01" * 32),
        "first byte": right[:6] + bytes([right[6] ^ 1]) + right[7:],
        "last byte": right[:37] + bytes([right[37] ^ 0x80]),
        "of the txids": commitment([payments[0], with_witness(payments[0])]),
    }
    yield bad(block_with(world, payments, [wrong[how]]), MATCH)
    yield bad(block_with(world, [], [wrong[how]]), MATCH)


@mutation
def the_last_of_two_commitments_counts(world: World) -> Offers:
    payments = [world.payment(), world.payment()]
    right = commitment([payments[0], *payments])
    wrong = COMMITMENT_PREFIX + bytes(32)
    yield bad(block_with(world, payments, [right, wrong]), MATCH)
    yield good(block_with(world, payments, [wrong, right, right[:-1], b"\x6a"]))


@for_each(
    (),
    (b"",),
    (bytes(31),),
    (bytes(33),),
    (bytes(32), b""),
    (bytes(32), bytes(32)),
    (b"", bytes(32)),
)
def reserved_value_of_another_form(world: World, *items: bytes) -> Offers:
    payments = [world.payment()]
    right = commitment([payments[0], *payments])
    yield bad(block_with(world, payments, [right], witness=items), NONCE)
    yield bad(block_with(world, [], [right], witness=items), NONCE)


@mutation
def reserved_value_of_any_bytes(world: World) -> Offers:
    nonce = world.rng.randbytes(32)
    payments = [world.payment()]
    right = commitment([payments[0], *payments], nonce)
    yield bad(block_with(world, payments, [right]), MATCH)
    yield good(block_with(world, payments, [right], witness=(nonce,)))


@mutation
def commitment_outside_the_coinbase(world: World) -> Offers:
    coins = world.take()
    right = commitment([world.first()])
    outputs = [TxOut(Amount(coins[0][1].value - 9), coins[0][1].script), TxOut(Amount(0), right)]
    pay = world.spend(coins, outputs)
    yield bad(block_with(world, [pay], []), UNEXPECTED)
    yield good(world.block([pay]))


@mutation
def commitment_without_any_witness(world: World) -> Offers:
    right = commitment([world.first()])
    yield bad(block_with(world, [], [right], witness=()), NONCE)
    yield good(block_with(world, [], [right]))


@mutation
def commitment_that_carries_money(world: World) -> Offers:
    right = commitment([world.first()])
    first = world.first(value=5)
    paid = [TxOut(Amount(7), right), *first.outputs]
    yield good(world.assemble([Transaction(2, first.inputs, paid)]))


@mutation
def witness_changed_after_the_commitment(world: World) -> Offers:
    pay = world.payment()
    block = world.block([pay])
    for witness in ((), (b"",), (*pay.inputs[0].witness, b""), pay.inputs[0].witness[:1]):
        changed = Transaction(2, [replace(pay.inputs[0], witness=witness)], pay.outputs)
        yield bad(Block(block.header, [block.transactions[0], changed]), MATCH)
    yield good(block)
