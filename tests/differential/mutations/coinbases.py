"""Coinbases: where they stand, what their script says, and BIP34's height."""

from dataclasses import replace

from chain.primitives.numbers import NULL_HASH, Amount, OutPoint, outpoint
from chain.primitives.script import push_number
from chain.primitives.transaction import Transaction, TxIn, TxOut
from tests.builders import KEY, commit
from tests.differential.mutation import Offers, for_each, mutation
from tests.differential.offer import bad, good
from tests.differential.world import World

LENGTH = "bad-cb-length"
HEIGHT = "bad-cb-height"


def with_script(world: World, script: bytes) -> Transaction:
    first = world.first()
    return Transaction(2, [replace(first.inputs[0], script_sig=script)], first.outputs)


@for_each(0, 1, 2, 3, 4, 99, 100, 101, 102, 10_001)
def script_of_size(world: World, size: int) -> Offers:
    needed = push_number(world.height)
    block = world.assemble(commit([with_script(world, needed.ljust(size, b"\x00")[:size])]))
    if not 2 <= size <= 100:
        yield bad(block, LENGTH)
    elif size < len(needed):
        yield bad(block, HEIGHT)
    else:
        yield good(block)


HEIGHT_FORMS = {
    "one less": lambda h: push_number(h - 1),
    "one more": lambda h: push_number(h + 1),
    "padded": lambda h: _sized(h.to_bytes(5, "little")),
    "pushdata1": lambda h: b"\x4c" + push_number(h),
    "pushdata2": lambda h: b"\x4d" + push_number(h)[:1] + b"\x00" + push_number(h)[1:],
    "big endian": lambda h: _sized(h.to_bytes(3, "big")),
    "negative": lambda h: _sized((h | 1 << 23).to_bytes(3, "little")),
    "after a zero": lambda h: b"\x00" + push_number(h),
    "after a no-op": lambda h: b"\x61" + push_number(h),
    "zeros": lambda h: bytes(8),
    "height zero": lambda h: push_number(0) + b"\x00",
    "small number": lambda h: push_number(16) + b"\x00",
}


def _sized(data: bytes) -> bytes:
    return bytes([len(data)]) + data


@for_each(*HEIGHT_FORMS)
def height_form(world: World, form: str) -> Offers:
    script = HEIGHT_FORMS[form](world.height) + b"\x00"
    yield bad(world.assemble(commit([with_script(world, script)])), HEIGHT)


@for_each(b"\x4c", b"\x4e\xff\xff\xff\xff", b"\x05", b"\x6a", b"\xff" * 90)
def bytes_after_the_height(world: World, rest: bytes) -> Offers:
    script = push_number(world.height) + rest
    yield good(world.assemble(commit([with_script(world, script)])))


@for_each(0, 1, 2, 0x80000000, 0xFFFFFFFF)
def version_of_a_coinbase(world: World, version: int) -> Offers:
    first = world.first()
    yield good(world.assemble(commit([Transaction(version, first.inputs, first.outputs)])))


@mutation
def no_coinbase(world: World) -> Offers:
    yield bad(world.assemble([world.payment()]), "bad-cb-missing")


@mutation
def coinbase_behind_a_payment(world: World) -> Offers:
    yield bad(world.assemble([world.payment(), world.first()]), "bad-cb-missing")


@mutation
def two_coinbases(world: World) -> Offers:
    yield bad(world.block([world.first()]), "bad-cb-multiple")
    yield bad(world.block([world.payment(), world.first()]), "bad-cb-multiple")


@for_each(
    outpoint(NULL_HASH, 0),
    outpoint(NULL_HASH, 0xFFFFFFFE),
    OutPoint(b"\x01" + bytes(31) + b"\xff" * 4),
)
def almost_null_outpoint(world: World, point: OutPoint) -> Offers:
    first = world.first(witness=())
    almost = Transaction(2, [replace(first.inputs[0], outpoint=point)], first.outputs)
    yield bad(world.assemble([almost]), "bad-cb-missing")
    yield bad(world.block([almost]), "bad-txns-inputs-missingorspent")


@mutation
def coinbase_of_two_inputs(world: World) -> Offers:
    first, coins = world.first(witness=()), world.take()
    two = [first.inputs[0], TxIn(coins[0][0])]
    yield bad(world.assemble([Transaction(2, two, first.outputs)]), "bad-cb-missing")
    yield bad(world.block([Transaction(2, two, first.outputs)]), "bad-txns-prevout-null")
    yield bad(world.block([Transaction(2, two[::-1], first.outputs)]), "bad-txns-prevout-null")


@mutation
def null_input_twice(world: World) -> Offers:
    first = world.first(witness=())
    twice = Transaction(2, [first.inputs[0]] * 2, first.outputs)
    yield bad(world.block([twice]), "bad-txns-inputs-duplicate")
    yield bad(world.assemble([twice]), "bad-cb-missing")


@mutation
def coinbase_without_outputs(world: World) -> Offers:
    first = world.first(witness=(), outputs=[])
    yield bad(world.assemble([first]), "bad-txns-vout-empty")


@mutation
def payment_without_outputs(world: World) -> Offers:
    yield bad(world.block([world.payment(outputs=[])]), "bad-txns-vout-empty")


@mutation
def coinbase_of_many_outputs(world: World) -> Offers:
    outputs = [TxOut(Amount(n), KEY.script) for n in range(300)]
    yield good(world.assemble([world.first(outputs=outputs, witness=())]))
