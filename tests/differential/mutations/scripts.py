"""Scripts in blocks: when they are looked at, and what their signature operations cost."""

from chain.primitives.hashes import hash160, sha256
from chain.primitives.numbers import Amount, OutPoint
from chain.primitives.script import push
from chain.primitives.transaction import Transaction, TxIn, TxOut
from tests.builders import KEY, output_of, pay, sign_input
from tests.differential.mutation import Offers, for_each
from tests.differential.offer import FALSE_ON_TOP, bad, good
from tests.differential.world import FEE, World
from tests.script.locks import p2sh

VALUE = Amount(5000)
LEGACY = b"\x76\xa9\x14" + hash160(KEY.public) + b"\x88\xac"
MULTISIG, CHECKSIG = b"\xae", b"\xac"  # in an output, 20 operations and one
SIGOPS = "bad-blk-sigops"


def made(world: World, *scripts: bytes) -> Transaction:
    """Return a payment that makes a coin for each of the scripts."""
    (coin,) = world.take(key=KEY)
    rest = coin[1].value - VALUE * len(scripts) - FEE
    return world.spend([coin], [*(TxOut(VALUE, script) for script in scripts), pay(rest)])


def wrong_legacy_spend(point: OutPoint) -> Transaction:
    """Return a spend of P2PKH without a signature."""
    return Transaction(2, [TxIn(point, b"\x00" + push(KEY.public))], [pay(VALUE - FEE)])


@for_each("missing coin", "sigops", "amount", "fee")
def wrong_legacy_spend_is_told_before(world: World, fault: str) -> Offers:
    costly = padded(195)
    funding = made(world, LEGACY, p2sh(costly))
    too_many = TxOut(VALUE, MULTISIG * 991)
    wrong = wrong_legacy_spend(output_of(funding))
    behind = {
        "missing coin": Transaction(2, [TxIn(OutPoint(bytes(36)))], [pay(1)]),
        "fee": world.payment(fee=-1),
        "sigops": Transaction(2, [TxIn(output_of(funding, 1), push(costly))], [too_many]),
        "amount": made(world, b"\x51"),
    }[fault]
    how = {"value": 1 << 45} if fault == "amount" else {}
    yield bad(world.block([funding, wrong, behind], **how), FALSE_ON_TOP)
    yield good(world.block([funding]))


def padded(count: int) -> bytes:
    """Return a script that leaves true, and holds so many checks that never run."""
    return b"\x00\x63" + CHECKSIG * count + b"\x68\x51"


@for_each((0, True), (1, False))
def sigops_of_every_kind_together(world: World, more: int, fits: bool) -> Offers:
    """760 of P2SH, 190 and 189 of witnesses, one of P2WPKH, and 78,860 of an output."""
    redeem, native, wrapped = padded(190), padded(190), padded(189 + more)
    program = b"\x00\x20" + sha256(wrapped)
    locks = (p2sh(redeem), b"\x00\x20" + sha256(native), p2sh(program), KEY.script)
    funding = made(world, *locks)
    yield good(world.block([funding]))
    inputs = [
        TxIn(output_of(funding, 0), push(redeem)),
        TxIn(output_of(funding, 1), witness=(native,)),
        TxIn(output_of(funding, 2), push(program), witness=(wrapped,)),
        TxIn(output_of(funding, 3)),
    ]
    output = TxOut(Amount(VALUE), MULTISIG * 985 + CHECKSIG * 15)
    tx = sign_input(Transaction(2, inputs, [output]), 3, VALUE, KEY)
    block = world.block([tx])
    yield good(block) if fits else bad(block, SIGOPS)


@for_each("wrong script", "right script")
def sigops_are_told_before_scripts(world: World, kind: str) -> Offers:
    redeem = padded(195) if kind == "right script" else CHECKSIG * 195
    funding = made(world, p2sh(redeem))
    yield good(world.block([funding]))
    output = TxOut(Amount(VALUE), MULTISIG * 991)
    tx = Transaction(2, [TxIn(output_of(funding), push(redeem))], [output])
    yield bad(world.block([tx]), SIGOPS)
