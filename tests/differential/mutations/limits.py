"""Size, weight and signature operations: at the limit, and one beyond."""

from chain.consensus.coin import Coin
from chain.consensus.params import REGTEST
from chain.consensus.subsidy import block_subsidy
from chain.primitives.block import Block
from chain.primitives.numbers import Amount
from chain.primitives.script import push_number
from chain.primitives.transaction import Transaction, TxOut
from tests.builders import KEY, commit, output_of, pay
from tests.differential.mutation import Offers, for_each, mutation
from tests.differential.mutations.coinbases import with_script
from tests.differential.mutations.signatures import high_s
from tests.differential.offer import bad, good
from tests.differential.world import FEE, World

SIGOPS = "bad-blk-sigops"
CHECKSIG, CHECKSIGVERIFY, CHECKMULTISIG, CHECKMULTISIGVERIFY = 0xAC, 0xAD, 0xAE, 0xAF


def padded(world: World, payments, filler: int, *, witness: bool = True) -> Block:
    """Return a block with OP_RETURN outputs of `filler` bytes of script in its coinbase."""
    half = filler // 2
    fill = [TxOut(Amount(0), b"\x6a" * size) for size in (half, filler - half)]
    subsidy = Amount(block_subsidy(world.height, REGTEST))
    outputs = [TxOut(subsidy, KEY.script), *fill]
    first = world.first(outputs=outputs, witness=(bytes(32),) if witness else ())
    return world.assemble(commit([first, *payments]) if witness else [first])


@for_each((1_000_000, None), (1_000_001, "bad-blk-length"))
def size_without_witness(world: World, size: int, reason: str | None) -> Offers:
    filler = 999_000
    filler += size - padded(world, [], filler, witness=False).base_size
    block = padded(world, [], filler, witness=False)
    assert block.base_size == size
    yield good(block) if reason is None else bad(block, reason)


@for_each((4_000_000, None), (4_000_001, "bad-blk-weight"), (4_000_003, "bad-blk-weight"))
def weight(world: World, wanted: int, reason: str | None) -> Offers:
    """Padding weighs four a byte; a high S is a byte of witness more, and as right."""
    payments = [world.payment() for _ in range(3)]
    small = padded(world, payments, 900_000)
    for index in range((wanted - small.weight) % 4):
        payments[index] = high_s(payments[index])
    small = padded(world, payments, 900_000)
    block = padded(world, payments, 900_000 + (wanted - small.weight) // 4)
    assert block.weight == wanted
    yield good(block) if reason is None else bad(block, reason)


def sigops_block(world: World, payments, script: bytes) -> Block:
    subsidy = Amount(block_subsidy(world.height, REGTEST))
    outputs = [TxOut(subsidy, KEY.script), TxOut(Amount(0), script)]
    return world.assemble(commit([world.first(outputs=outputs), *payments]))


@for_each((20_000, 0, None), (20_001, 0, SIGOPS), (20_000, 1, SIGOPS))
def signature_operations(world: World, count: int, inputs: int, reason: str | None) -> Offers:
    payments = [world.spend(world.take(inputs))] if inputs else []
    for start in (b"", b"\x6a"):  # OP_RETURN outputs count, too
        block = sigops_block(world, payments, start + bytes([CHECKSIG]) * count)
        yield good(block) if reason is None else bad(block, reason)


@for_each((4, None), (5, SIGOPS))
def inputs_cost_one(world: World, inputs: int, reason: str | None) -> Offers:
    payments = [world.spend(world.take(inputs))]
    block = sigops_block(world, payments, bytes([CHECKSIG]) * 19_999)
    yield good(block) if reason is None else bad(block, reason)


@mutation
def inputs_cost_one_also_inside_a_block(world: World) -> Offers:
    coins = world.take()
    each = Amount((coins[0][1].value - FEE) // 5)
    fan = world.spend(coins, [pay(each)] * 5)
    made = [
        (output_of(fan, n), Coin(each, KEY.script, world.height, from_coinbase=False))
        for n in range(5)
    ]
    legacy = bytes([CHECKSIG]) * 19_999
    yield bad(sigops_block(world, [fan, world.spend(made[:4])], legacy), SIGOPS)
    yield good(sigops_block(world, [fan, world.spend(made[:3])], legacy))


OPERATIONS = {
    "checksig": (bytes([CHECKSIG]), 1),
    "checksigverify": (bytes([CHECKSIGVERIFY]), 1),
    "checkmultisig": (bytes([CHECKMULTISIG]), 20),
    "checkmultisigverify": (bytes([CHECKMULTISIGVERIFY]), 20),
    "1 of 1 counts 20": (b"\x51" + bytes([CHECKMULTISIG]), 20),
    "behind a push": (b"\x01\xac" + bytes([CHECKSIG]), 1),
    "behind a wide push": (b"\x4d\x02\x00\xac\xac" + bytes([CHECKSIG]), 1),
    "behind a return": (b"\x6a" + bytes([CHECKSIG]), 1),
    "behind an unknown": (b"\xff\xba" + bytes([CHECKSIG]), 1),
}


@for_each(*OPERATIONS)
def operation_counts(world: World, name: str) -> Offers:
    script, each = OPERATIONS[name]
    yield bad(sigops_block(world, [], script * (20_000 // each + 1)), SIGOPS)
    yield good(sigops_block(world, [], script * (20_000 // each)))


@for_each(b"\x4c\xff", b"\x4c", b"\x4d\x01", b"\x4e\xff\xff\xff\xff", b"\x4b")
def push_cut_short_ends_the_count(world: World, push: bytes) -> Offers:
    full, tail = bytes([CHECKSIG]) * 20_000, bytes([CHECKSIG]) * 2
    if push == b"\x4b":
        tail = bytes([CHECKSIG]) * 74
    yield bad(sigops_block(world, [], full + tail), SIGOPS)
    if push in {b"\x4c", b"\x4d\x01"}:  # ac.. is a length then
        tail = b"\xac"
    yield good(sigops_block(world, [], full + push + tail))


@mutation
def operations_in_a_coinbase_script(world: World) -> Offers:
    height = push_number(world.height)
    script = height + bytes([CHECKMULTISIG]) * (100 - len(height))
    first = with_script(world, script)
    inside = (100 - len(height)) * 20
    for more, is_good in ((1, False), (0, True)):
        fill = TxOut(Amount(0), bytes([CHECKSIG]) * (20_000 - inside + more))
        tx = Transaction(2, first.inputs, [*first.outputs, fill])
        block = world.assemble(commit([tx]))
        yield good(block) if is_good else bad(block, SIGOPS)


@mutation
def operations_over_several_transactions(world: World) -> Offers:
    coins = world.take(2)
    outputs = [
        [TxOut(Amount(0), bytes([CHECKSIG]) * 10_000), pay(coin[1].value - FEE)] for coin in coins
    ]
    payments = [world.spend([c], o) for c, o in zip(coins, outputs, strict=True)]
    yield bad(world.block(payments), SIGOPS)
    yield good(world.block(payments[:1]))


@mutation
def chain_of_two_hundred_in_one_block(world: World) -> Offers:
    coins, payments = world.take(), []
    for _ in range(200):
        payments.append(world.spend(coins))
        out = payments[-1].outputs[0]
        made = Coin(out.value, out.script, world.height, from_coinbase=False)
        coins = [(output_of(payments[-1]), made)]
    yield good(world.block(payments))
