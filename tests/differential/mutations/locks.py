"""When a transaction may enter: absolute locks (BIP113) and relative ones (BIP68)."""

from dataclasses import replace

from chain.consensus.coin import Coin
from chain.primitives.transaction import SEQUENCE_FINAL, Transaction
from tests.builders import output_of
from tests.differential.mutation import Offers, for_each, mutation
from tests.differential.offer import Offer, bad, good
from tests.differential.world import World

NOT_FINAL = "bad-txns-nonfinal"
TIME = 1 << 22
OFF = 1 << 31


def judged(world: World, tx: Transaction, *, is_open: bool) -> Offer:
    block = world.block([tx])
    return good(block) if is_open else bad(block, NOT_FINAL)


@for_each((-2, True), (-1, True), (0, False), (1, False))
def lock_height(world: World, more: int, is_open: bool) -> Offers:
    tx = world.payment(lock_time=world.height + more, sequence=0xFFFFFFFE)
    yield judged(world, tx, is_open=is_open)


@for_each((-2, True), (-1, True), (0, False), (1, False))
def lock_median_time(world: World, more: int, is_open: bool) -> Offers:
    lock_time = world.tip.median_time_past + more
    tx = world.payment(lock_time=lock_time, sequence=0)
    yield judged(world, tx, is_open=is_open)


@for_each((499_999_999, False), (500_000_000, True), (0xFFFFFFFF, False))
def lock_between_heights_and_times(world: World, lock_time: int, is_open: bool) -> Offers:
    tx = world.payment(lock_time=lock_time, sequence=0xFFFFFFFE)
    yield judged(world, tx, is_open=is_open)


@for_each(499_999_999, 0xFFFFFFFF)
def lock_that_final_sequences_lift(world: World, lock_time: int) -> Offers:
    yield good(world.block([world.payment(lock_time=lock_time)]))


@mutation
def lock_that_one_sequence_keeps(world: World) -> Offers:
    coins = world.take(2)
    tx = world.spend(coins, lock_time=world.height)
    yield good(world.block([tx]))
    coins = world.take(2)
    kept = world.spend(coins, lock_time=world.height, sequence=SEQUENCE_FINAL - 1)
    mixed = [kept.inputs[0], *world.spend(coins).inputs[1:]]
    yield bad(world.block([Transaction(2, mixed, kept.outputs, world.height)]), NOT_FINAL)


@for_each((0xFFFFFFFF, 0, True), (0xFFFFFFFE, 0, False), (0xFFFFFFFE, -1, True))
def lock_of_a_coinbase(world: World, sequence: int, more: int, is_open: bool) -> Offers:
    first = world.first(witness=())
    txin = replace(first.inputs[0], sequence=sequence)
    locked = Transaction(2, [txin], first.outputs, world.height + more)
    block = world.assemble([locked])
    yield good(block) if is_open else bad(block, NOT_FINAL)


@for_each((-1, True), (0, True), (1, False), (0xFFFF, False))
def relative_height(world: World, more: int, is_open: bool) -> Offers:
    coins = world.take()
    age = world.height - coins[0][1].height
    tx = world.spend(coins, sequence=min(max(age, 0) + more, 0xFFFF))
    yield judged(world, tx, is_open=is_open)


@for_each((0, True), (1, False))
def relative_height_in_the_same_block(world: World, blocks: int, is_open: bool) -> Offers:
    parent, child = parent_and_child(world, sequence=blocks)
    block = world.block([parent, child])
    yield good(block) if is_open else bad(block, NOT_FINAL)


@for_each((0, True), (1, False))
def relative_time_in_the_same_block(world: World, units: int, is_open: bool) -> Offers:
    parent, child = parent_and_child(world, sequence=TIME | units)
    block = world.block([parent, child])
    yield good(block) if is_open else bad(block, NOT_FINAL)


def parent_and_child(world: World, **how) -> tuple[Transaction, Transaction]:
    """Return two transactions for one block, of which the second spends the first."""
    parent = world.payment()
    out = parent.outputs[0]
    coin = Coin(out.value, out.script, world.height, from_coinbase=False)
    return parent, world.spend([(output_of(parent), coin)], **how)


@for_each((0, True), (1, False))
def relative_time(world: World, more: int, is_open: bool) -> Offers:
    coins = world.take()
    start = world.tip.ancestor(coins[0][1].height - 1).median_time_past
    units = (world.tip.median_time_past - start) // 512 + more
    yield judged(world, world.spend(coins, sequence=TIME | units), is_open=is_open)


@for_each((0, True), (-1, False))
def relative_time_to_the_second(world: World, late_s: int, is_open: bool) -> Offers:
    """Blocks 512 s apart: medians differ by whole units, or miss one by a second.

    The first dozen only drives odd times out of the medians.
    """
    start = world.tip.median_time_past + 1000
    coins = world.take(2)
    for number in range(42):
        shift = late_s if number > 27 else 0
        payments = [made := world.spend(coins)] if number == 20 else []
        yield good(world.block(payments, time=start + 512 * number + shift))
    out, height = made.outputs[0], world.height - 22
    coin = Coin(out.value, out.script, height, from_coinbase=False)
    tx = world.spend([(output_of(made), coin)], sequence=TIME | 22)
    yield judged(world, tx, is_open=is_open)
    if not is_open:
        tx = world.spend([(output_of(made), coin)], sequence=TIME | 21)
        yield judged(world, tx, is_open=True)


@for_each(
    (0, True),
    (1, True),
    (2, False),
    (3, False),
    (0x7FFFFFFF, False),
    (0x80000000, False),
    (0xFFFFFFFF, False),
)
def relative_lock_by_version(world: World, version: int, is_open: bool) -> Offers:
    yield judged(world, world.payment(version=version, sequence=0xFFFF), is_open=is_open)
    yield judged(world, world.payment(version=version, sequence=TIME | 0xFFFF), is_open=is_open)
    yield good(world.block([world.payment(version=version)]))


@for_each(OFF | 0xFFFF, OFF | TIME | 0xFFFF, OFF, 0xFFFFFFFE, 0x003F0000, 0x7F800000, 0x7FBF0001)
def relative_lock_bits_that_say_nothing(world: World, sequence: int) -> Offers:
    """Bit 31 switches the lock off; bits 16 to 21 and 23 to 30 have no meaning."""
    yield good(world.block([world.payment(sequence=sequence)]))


@mutation
def relative_lock_on_the_second_input(world: World) -> Offers:
    coins = world.take(2)
    free = world.spend(coins)
    locked = world.spend(coins, sequence=0xFFFF)
    mixed = Transaction(2, [free.inputs[0], locked.inputs[1]], free.outputs)
    yield bad(world.block([mixed]), NOT_FINAL)
    yield good(world.block([free]))
