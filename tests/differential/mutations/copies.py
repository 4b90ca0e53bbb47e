"""Mutated copies: other bytes under an honest block's id must not harm that block."""

from dataclasses import replace

from chain.consensus.entry import BlockTreeEntry
from chain.primitives.block import Block
from chain.primitives.merkle import merkle_root
from chain.primitives.transaction import Transaction
from tests.differential.mutation import Offers, for_each, mutation
from tests.differential.mutations.witnesses import with_witness
from tests.differential.offer import bad, good, unknown
from tests.differential.world import World

MATCH = "bad-witness-merkle-match"
DUPLICATE = "bad-txns-duplicate"
ROOT = "bad-txnmrklroot"


def _without_witness(tx: Transaction) -> Transaction:
    return Transaction(
        tx.version, [replace(i, witness=()) for i in tx.inputs], tx.outputs, tx.lock_time
    )


def _change(tx: Transaction) -> Transaction:
    return with_witness(tx, *tx.inputs[0].witness, b"more")


COPIES = {
    "witnesses stripped": (lambda b: [b[0], *map(_without_witness, b[1:])], MATCH),
    "all stripped": (lambda b: list(map(_without_witness, b)), "bad-witness-nonce-size"),
    "reserved value stripped": (
        lambda b: [_without_witness(b[0]), *b[1:]],
        "bad-witness-nonce-size",
    ),
    "reserved value changed": (lambda b: [with_witness(b[0], b"\x01" * 32), *b[1:]], MATCH),
    "a witness changed": (lambda b: [*b[:-1], _change(b[-1])], MATCH),
    "last dropped": (lambda b: b[:-1], ROOT),
    "coinbase only": (lambda b: b[:1], ROOT),
    "nothing": (lambda b: [], ROOT),
    "order changed": (lambda b: [b[0], *b[:0:-1]], ROOT),
    "one more": (lambda b: [*b, b[1]], ROOT),
}


@for_each(*COPIES)
def copy_before_the_block(world: World, form: str) -> Offers:
    change, reason = COPIES[form]
    block = world.block([world.payment(), world.payment(), world.payment()])
    copy = Block(block.header, change(list(block.transactions)))
    yield bad(copy, reason)
    yield bad(copy, reason)
    yield good(block)
    yield unknown(copy)  # the block is known now


@for_each(*COPIES)
def copy_of_an_invalid_block(world: World, form: str) -> Offers:
    change, reason = COPIES[form]
    payments = [world.payment() for _ in range(3)]
    block = world.block(payments, value=1 << 45)
    copy = Block(block.header, change(list(block.transactions)))
    yield bad(copy, reason)
    yield bad(block, "bad-cb-amount")
    yield unknown(copy)
    yield bad(block, "duplicate-invalid")


@for_each(*range(2, 14))
def repeated_tail(world: World, count: int) -> Offers:
    """CVE-2012-2459: every way to repeat a tail of `count` transactions that keeps the root."""
    block = world.block([world.payment() for _ in range(count - 1)])
    transactions = list(block.transactions)
    for tail in range(1, count + 1):
        copy = [*transactions, *transactions[-tail:]]
        same = merkle_root([tx.txid for tx in copy])[0] == block.header.merkle_root
        yield bad(Block(block.header, copy), DUPLICATE if same else ROOT)
    yield good(block)


@mutation
def equal_neighbours_are_taken_for_a_mutation(world: World) -> Offers:
    """Even where no shorter list has the same root, as Bitcoin does."""
    a, b, c = (world.payment() for _ in range(3))
    yield bad(world.block([a, b, b]), DUPLICATE)
    yield bad(world.block([a, a]), "bad-txns-inputs-missingorspent")
    yield bad(world.block([a, b, b, c, c]), DUPLICATE)
    yield good(world.block([a, b, c]))


@mutation
def other_nonces_of_the_same_block(world: World) -> Offers:
    """The header is what work is done on: a nonce that misses is told before all else."""
    block = world.block([world.payment()])
    for nonce in range(block.header.nonce + 1, block.header.nonce + 40):
        other = Block(replace(block.header, nonce=nonce), block.transactions)
        if other.id[31] >= 0x80:
            yield bad(other, "high-hash")
            break
    yield good(block)


@mutation
def child_of_a_block_seen_only_mutated(world: World) -> Offers:
    """The copy made the header known: the child is kept, and both connect when the block comes."""
    block = world.block([world.payment()])
    copy = Block(block.header, [block.transactions[0], _change(block.transactions[1])])
    yield bad(copy, MATCH)
    child = world.block(parent=BlockTreeEntry(block.header, world.tip))
    yield good(child)
    yield good(block)
    assert world.tip.id == child.id
