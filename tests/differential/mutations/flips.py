"""Chance: one bit or byte of a transaction, and everything around it made right again."""

from chain.primitives.block import Block
from chain.primitives.encoding import DecodeError
from chain.primitives.transaction import decode_transaction
from tests.builders import commit
from tests.differential.mutation import Offers, for_each, mutation
from tests.differential.offer import good, unknown
from tests.differential.world import World


def rebuilt(world: World, raw: bytes) -> Block | None:
    """Return a block around the bytes of one transaction, or None if these are none."""
    try:
        tx = decode_transaction(raw)
    except DecodeError:
        return None
    return world.assemble(commit([world.first(), tx]))


@for_each("bit", "byte", "insert", "delete", "repeat")
def transaction_changed_by_chance(world: World, how: str) -> Offers:
    honest = world.spend(world.take(2))
    for _ in range(8):
        block = rebuilt(world, _changed(world, honest.raw, how))
        if block is not None:
            yield unknown(block)


def _changed(world: World, raw: bytes, how: str) -> bytes:
    rng = world.rng
    at = rng.randrange(len(raw))
    if how == "bit":
        return raw[:at] + bytes([raw[at] ^ 1 << rng.randrange(8)]) + raw[at + 1 :]
    if how == "byte":
        return raw[:at] + rng.randbytes(1) + raw[at + 1 :]
    if how == "insert":
        return raw[:at] + rng.randbytes(1) + raw[at:]
    if how == "delete":
        return raw[:at] + raw[at + 1 :]
    return raw[:at] + raw[max(at - 36, 0) :]


@mutation
def header_bit_changed_by_chance(world: World) -> Offers:
    block = world.block([world.payment()])
    raw = bytearray(block.raw)
    at = world.rng.randrange(80 * 8)
    raw[at // 8] ^= 1 << at % 8
    yield unknown(bytes(raw))
    yield good(world.block())


@mutation
def body_bit_changed_by_chance(world: World) -> Offers:
    block = world.block([world.payment()])
    raw = bytearray(block.raw)
    at = world.rng.randrange(80 * 8, len(raw) * 8)
    raw[at // 8] ^= 1 << at % 8
    yield unknown(bytes(raw))
    yield good(block)


@mutation
def ordinary_block(world: World) -> Offers:
    payments = [world.spend(world.take(world.rng.randint(1, 3))) for _ in range(3)]
    yield good(world.block(payments))
