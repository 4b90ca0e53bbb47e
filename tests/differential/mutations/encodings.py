"""Bytes: forms that are no block, and forms that say the same in another way."""

from chain.primitives.block import HEADER_BYTES, Block
from chain.primitives.encoding import compact_size
from chain.primitives.transaction import Transaction
from tests.builders import solve
from tests.differential.mutation import Offers, for_each, mutation
from tests.differential.mutations.headers import with_header
from tests.differential.offer import Compare, Offer, bad, good, undecodable
from tests.differential.world import World

WIDE = {
    3: lambda n: b"\xfd" + n.to_bytes(2, "little"),
    5: lambda n: b"\xfe" + n.to_bytes(4, "little"),
    9: lambda n: b"\xff" + n.to_bytes(8, "little"),
}


def raw_block(world: World, *transactions: bytes) -> bytes:
    """Return a block of these bytes with a coinbase before them; the Merkle root is wrong."""
    block = world.block()
    body = [block.transactions[0].raw, *transactions]
    return block.header.encode() + compact_size(len(body)) + b"".join(body)


@mutation
def truncated_anywhere(world: World) -> Offers:
    raw = world.block([world.payment()]).raw
    for end in [0, 1, 79, 80, 81, len(raw) - 1, *world.rng.sample(range(82, len(raw)), 10)]:
        yield undecodable(raw[:end])
    yield Offer(raw, None)


@mutation
def bytes_behind_the_block(world: World) -> Offers:
    """Declared: Core's kernel ignores them, groat refuses them."""
    raw = world.block().raw
    yield Offer(raw + b"\x00", None, Compare.ONE_WAY)
    yield good(world.block())


@for_each(3, 5, 9)
def wide_number_of_transactions(world: World, width: int) -> Offers:
    raw = world.block([world.payment()]).raw
    yield undecodable(raw[:HEADER_BYTES] + WIDE[width](2) + raw[HEADER_BYTES + 1 :])


@for_each(3, 5, 9)
def wide_size_within_a_transaction(world: World, width: int) -> Offers:
    """Each place of a size: inputs, script, outputs, output script, items, signature, key.

    The places are those of the payment itself: a size a byte further on would read as data, and
    Core ignores what data is left behind the block.
    """
    payment = world.payment()
    tx = payment.raw
    signature, key = payment.inputs[0].witness
    key_at = len(tx) - 4 - len(key) - 1
    signature_at = key_at - len(signature) - 1
    places = [6, 6 + 1 + 36, 6 + 1 + 36 + 1 + 4, 6 + 1 + 36 + 1 + 4 + 1 + 8]
    sizes = [1, 0, 1, len(payment.outputs[0].script), 2, len(signature), len(key)]
    for at, size in zip([*places, signature_at - 1, signature_at, key_at], sizes, strict=True):
        assert tx[at] == size
        yield undecodable(raw_block(world, tx[:at] + WIDE[width](size) + tx[at + 1 :]))


@for_each(0x02000001, 0xFFFFFFFF, (1 << 64) - 1)
def enormous_number_of_transactions(world: World, count: int) -> Offers:
    block = world.block()
    yield undecodable(block.header.encode() + compact_size(count) + block.transactions[0].raw)


@for_each(0x02000000, 0x02000001, 1 << 40)
def enormous_script(world: World, size: int) -> Offers:
    tx = world.payment().raw
    at = 6 + 1 + 36
    yield undecodable(raw_block(world, tx[:at] + compact_size(size) + tx[at + 1 :]))


@mutation
def marker_without_flags(world: World) -> Offers:
    """Reads as a transaction of nothing, and bytes after it that only Core ignores."""
    tx = world.payment().raw
    raw = raw_block(world, tx[:5] + b"\x00" + tx[6:])
    yield Offer(raw, "bad-txnmrklroot", Compare.ONE_WAY)


@for_each(2, 3, 0x80, 0xFF)
def unknown_flags(world: World, flags: int) -> Offers:
    tx = world.payment().raw
    yield undecodable(raw_block(world, tx[:5] + bytes([flags]) + tx[6:]))


@mutation
def superfluous_witness(world: World) -> Offers:
    tx = world.payment()
    bare = tx.base_raw
    yield undecodable(
        raw_block(
            world,
            bare[:4] + b"\x00\x01" + bare[4:-4] + b"\x00" + bare[-4:],
        )
    )


@mutation
def transaction_of_nothing(world: World) -> Offers:
    """Neither inputs nor outputs: ten bytes that Bitcoin reads, and then refuses."""
    yield bad(world.block([Transaction(2, [], [])]), "bad-txns-vin-empty")
    yield bad(world.assemble([Transaction(2, [], [])]), "bad-cb-missing")


@mutation
def no_inputs_but_outputs(world: World) -> Offers:
    """The count of inputs reads as the witness marker, the count of outputs as flags."""
    tx = Transaction(2, [], world.payment().outputs)
    yield undecodable(raw_block(world, tx.base_raw))


@for_each(0, 1, 3, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
def version_of_a_transaction(world: World, version: int) -> Offers:
    yield good(world.block([world.payment(version=version)]))


@mutation
def witness_serialization_without_need(world: World) -> Offers:
    """A coinbase without witness, written the long way."""
    first = world.first(witness=())
    block = world.assemble([first])
    bare = first.base_raw
    long = bare[:4] + b"\x00\x01" + bare[4:-4] + b"\x00" + bare[-4:]
    yield undecodable(block.header.encode() + b"\x01" + long)
    yield good(block)


@mutation
def header_alone(world: World) -> Offers:
    block = world.block()
    yield undecodable(block.header.encode())
    yield bad(Block(block.header, []), "bad-txnmrklroot")


@mutation
def random_bytes(world: World) -> Offers:
    block = world.block()
    for size in (81, 100, 300):
        raw = block.header.encode() + b"\x01" + world.rng.randbytes(size)
        yield undecodable(raw[:-1] if raw[84:86] == b"\x00\x01" else raw)


@mutation
def solved_again(world: World) -> Offers:
    """Another nonce that works is another block of equal work."""
    block = world.block()
    other = with_header(block, time=block.header.time + 1)
    yield good(block)
    yield good(other)
    yield good(Block(solve(other.header), other.transactions))
