"""Signatures: their DER form, numbers, hash types and what these cover."""

from chain.consensus.coin import Coin
from chain.primitives.numbers import Amount
from chain.primitives.signature import ORDER
from chain.primitives.transaction import Transaction, TxOut
from tests.builders import KEY, output_of, pay, sign_input
from tests.differential.mutation import Offers, for_each, mutation
from tests.differential.mutations.witnesses import with_input, with_witness
from tests.differential.offer import FALSE_ON_TOP, NOT_DER, bad, good
from tests.differential.world import FEE, KEY_OF, World, spend


def number(value: int) -> bytes:
    """Return a positive DER integer, with its tag and length."""
    data = value.to_bytes(value.bit_length() // 8 + 1, "big")
    return integer(data)


def integer(data: bytes) -> bytes:
    return b"\x02" + bytes([len(data)]) + data


def sequence(*parts: bytes) -> bytes:
    body = b"".join(parts)
    return b"\x30" + bytes([len(body)]) + body


def parts(signature: bytes) -> tuple[int, int]:
    """Return r and s of a signature with its hash type."""
    end = 4 + signature[3]
    return int.from_bytes(signature[4:end], "big"), int.from_bytes(signature[end + 2 : -1], "big")


def re_signed(tx: Transaction, der: bytes, index: int = 0, hash_type: int = 1) -> Transaction:
    """Return the transaction with another signature in place of its own."""
    return with_witness(tx, der + bytes([hash_type]), tx.inputs[index].witness[1], index=index)


def high_s(tx: Transaction, index: int = 0) -> Transaction:
    """Return the transaction with the other S that verifies as well, one byte longer."""
    r, s = parts(tx.inputs[index].witness[0])
    return re_signed(tx, sequence(number(r), number(ORDER - s)), index)


@mutation
def high_s_is_right(world: World) -> Offers:
    yield good(world.block([high_s(world.payment())]))


FORMS = {
    "r padded": lambda r, s: sequence(integer(b"\x00" + number(r)[2:]), number(s)),
    "s padded": lambda r, s: sequence(number(r), integer(b"\x00" + number(s)[2:])),
    "r padded far": lambda r, s: sequence(integer(bytes(5) + number(r)[2:]), number(s)),
    "r negative": lambda r, s: sequence(integer(b"\x80" + number(r)[2:]), number(s)),
    "s negative": lambda r, s: sequence(number(r), integer(b"\xff" + number(s)[2:])),
    "r empty": lambda r, s: sequence(integer(b""), number(s)),
    "s empty": lambda r, s: sequence(number(r), integer(b"")),
    "s missing": lambda r, s: sequence(number(r)),
    "nothing": lambda r, s: sequence(),
    "three numbers": lambda r, s: sequence(number(r), number(s), number(1)),
    "trailing byte": lambda r, s: sequence(number(r), number(s)) + b"\x00",
    "trailing byte inside": lambda r, s: sequence(number(r), number(s), b"\x00"),
    "set tag": lambda r, s: b"\x31" + sequence(number(r), number(s))[1:],
    "r tag": lambda r, s: sequence(b"\x03" + number(r)[1:], number(s)),
    "s tag": lambda r, s: sequence(number(r), b"\x03" + number(s)[1:]),
    "long length": lambda r, s: b"\x30\x81" + sequence(number(r), number(s))[1:],
    "indefinite": lambda r, s: b"\x30\x80" + sequence(number(r), number(s))[2:] + bytes(2),
    "length short": lambda r, s: _length(sequence(number(r), number(s)), 1, -1),
    "length long": lambda r, s: _length(sequence(number(r), number(s)), 1, 1),
    "r length short": lambda r, s: _length(sequence(number(r), number(s)), 3, -1),
    "r length long": lambda r, s: _length(sequence(number(r), number(s)), 3, 1),
    "r length all": lambda r, s: _length(sequence(number(r), number(s)), 3, 38),
    "last byte cut": lambda r, s: sequence(number(r), number(s))[:-1],
    "raw 64 bytes": lambda r, s: r.to_bytes(32, "big") + s.to_bytes(32, "big"),
    "73 bytes": lambda r, s: sequence(integer(b"\x01" * 34), integer(b"\x01" * 33)),
}
VALUES = {
    "r zero": lambda r, s: (0, s),
    "s zero": lambda r, s: (r, 0),
    "both zero": lambda r, s: (0, 0),
    "r one": lambda r, s: (1, s),
    "s one": lambda r, s: (r, 1),
    "r order": lambda r, s: (ORDER, s),
    "s order": lambda r, s: (r, ORDER),
    "r plus order": lambda r, s: (r + ORDER, s),
    "s plus order": lambda r, s: (r, s + ORDER),
    "r of 33 bytes": lambda r, s: (r + (1 << 256), s),
    "s of 33 bytes": lambda r, s: (r, s + (1 << 256)),
    "all ones": lambda r, s: ((1 << 256) - 1, (1 << 256) - 1),
    "swapped": lambda r, s: (s, r),
    "r off by one": lambda r, s: (r + 1, s),
    "s off by one": lambda r, s: (r, s - 1),
    "r negated": lambda r, s: (ORDER - r, s),
}


def _length(der: bytes, at: int, change: int) -> bytes:
    return der[:at] + bytes([der[at] + change]) + der[at + 1 :]


@for_each(*FORMS)
def der_form(world: World, form: str) -> Offers:
    tx = world.payment()
    r, s = parts(tx.inputs[0].witness[0])
    yield bad(world.block([re_signed(tx, FORMS[form](r, s))]), NOT_DER)


@for_each(*VALUES)
def der_values(world: World, form: str) -> Offers:
    tx = world.payment()
    r, s = VALUES[form](*parts(tx.inputs[0].witness[0]))
    yield bad(world.block([re_signed(tx, sequence(number(r), number(s)))]), FALSE_ON_TOP)


@mutation
def longest_strict_der(world: World) -> Offers:
    """Sizes of 72 and 73 bytes with hash type are DER to BIP66; then the numbers are wrong."""
    tx = world.payment()
    for r_size, s_size in ((33, 33), (33, 32)):
        der = sequence(integer(b"\x01" * r_size), integer(b"\x01" * s_size))
        yield bad(world.block([re_signed(tx, der)]), FALSE_ON_TOP)


@mutation
def every_hash_type_right(world: World) -> Offers:
    """One block: a coin for each hash type, each spent with a signature of its type."""
    coins = world.take()
    each = Amount((coins[0][1].value - FEE) // 256)
    fan = world.spend(coins, [pay(each)] * 256)
    spends = []
    for hash_type in range(256):
        coin = Coin(each, KEY.script, world.height, from_coinbase=False)
        outputs = [pay(each)] if hash_type else [pay(each // 2), pay(each - each // 2)]
        spends.append(spend([(output_of(fan, hash_type), coin)], outputs, hash_type=hash_type))
    yield good(world.block([fan, *spends]))


@for_each(*range(0, 256, 64))
def hash_type_is_signed_too(world: World, start: int) -> Offers:
    tx = world.payment()
    coin = world.coins()[tx.inputs[0].outpoint]
    for hash_type in range(start, start + 64):
        signed = sign_input(tx, 0, coin.value, KEY_OF[coin.script], hash_type)
        signature, key = signed.inputs[0].witness
        other = world.rng.choice([n for n in range(256) if n != hash_type])
        forged = with_witness(signed, signature[:-1] + bytes([other]), key)
        yield bad(world.block([forged]), FALSE_ON_TOP)


@for_each(0x02, 0x03, 0x82, 0x83, 0x81, 0x01, 0x00, 0x04, 0x1F, 0x22, 0x43, 0xE3)
def hash_type_covers(world: World, hash_type: int) -> Offers:
    """Sign two inputs, then change one thing: who is right is left to Core."""
    coins = world.take(3)
    value = sum(coin.value for _, coin in coins[:2]) // 2 - FEE
    signed = spend(coins[:2], [pay(value), pay(value - 2)], hash_type=hash_type)
    first, second = signed.outputs
    base = hash_type & 0x1F
    alone, none, single = hash_type & 0x80, base == 2, base == 3
    inputs, version = signed.inputs, signed.version
    less = [TxOut(Amount(value - 1), KEY.script)]
    changed = {
        "both outputs": (Transaction(version, inputs, less * 2), none),
        "an output more": (Transaction(version, inputs, [first, second, pay(0)]), none or single),
        "version": (Transaction(1, inputs, signed.outputs), False),
        "sequence": (with_input(signed, 1, sequence=0xFFFFFFFE), False),
        "inputs": (Transaction(version, inputs[::-1], signed.outputs), alone and not single),
    }
    for tx, holds in changed.values():
        if not holds:
            yield bad(world.block([tx]), FALSE_ON_TOP)
    name = world.rng.choice(
        [name for name, (_, holds) in changed.items() if holds] or ["as signed"]
    )
    yield good(world.block([changed[name][0] if name in changed else signed]))


@mutation
def single_without_its_output(world: World) -> Offers:
    """BIP143: the missing output's hash is zero, so the signature is right."""
    coins = world.take(2)
    value = sum(coin.value for _, coin in coins) - FEE
    signed = spend(coins, [pay(value)], hash_type=3)
    other = Transaction(2, signed.inputs, [pay(value - 1)])
    yield bad(world.block([other]), FALSE_ON_TOP)
    yield good(world.block([signed]))


@mutation
def signature_of_another_amount(world: World) -> Offers:
    tx = world.payment()
    coin = world.coins()[tx.inputs[0].outpoint]
    wrong = sign_input(tx, 0, coin.value ^ 1, KEY_OF[coin.script])
    yield bad(world.block([wrong]), FALSE_ON_TOP)


@mutation
def signature_of_another_input(world: World) -> Offers:
    coins = world.take(2, key=KEY)
    tx = world.spend(coins)
    a, b = (txin.witness for txin in tx.inputs)
    yield bad(world.block([with_witness(with_witness(tx, *b), *a, index=1)]), FALSE_ON_TOP)
    yield good(world.block([tx]))
