"""Scripts put where they run: bare, in P2SH, in a witness (also wrapped), in a Taproot leaf."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256 as plain_sha256

from btclib_secp256k1 import keys, ssa, xonly

from chain.primitives.encoding import with_size
from chain.primitives.hashes import hash160, sha256
from chain.primitives.numbers import Amount, Hash32, OutPoint, outpoint
from chain.primitives.script import push
from chain.primitives.sighash import SIGHASH_ALL
from chain.primitives.signature import sign
from chain.primitives.transaction import Transaction, TxIn, TxOut
from chain.script.hashes import InputHashes, TransactionHashes
from chain.script.machine import NO_SEPARATOR
from chain.script.taproot import branch_hash, leaf_hash, tweak
from tests.script.core_format import shown
from tests.script.kernel_process import Case

CONTEXTS = ("base", "p2sh", "v0", "wrapped_v0", "tapscript")
LEGACY = ("base", "p2sh")


@dataclass(frozen=True)
class SpendKey:
    """A key made from a number, in the forms that scripts know."""

    number: int
    private: bytes = field(init=False, repr=False)
    compressed: bytes = field(init=False)
    full: bytes = field(init=False)

    def __post_init__(self) -> None:
        private = plain_sha256(b"groat script key %d" % self.number).digest()
        object.__setattr__(self, "private", private)
        object.__setattr__(self, "compressed", keys.pubkey_from_prvkey(private))
        object.__setattr__(self, "full", keys.pubkey_from_prvkey(private, compressed=False))

    @property
    def xonly(self) -> bytes:
        return self.compressed[1:]

    @property
    def hybrid(self) -> bytes:
        return bytes([6 + (self.full[-1] & 1)]) + self.full[1:]


KEYS = tuple(SpendKey(number) for number in range(4))


@dataclass(frozen=True)
class Sign:
    """A signature to be made; `code` is what it signs if that is not the whole script."""

    key: SpendKey
    hash_type: int = SIGHASH_ALL
    code: bytes | None = None
    separator: int = NO_SEPARATOR


Item = bytes | Sign


_OTHER = TxOut(Amount(3000), b"\x51")


@dataclass
class Draft:
    """A transaction that is still to be signed, and the place of the spend in it."""

    version: int = 2
    lock_time: int = 0
    sequences: Sequence[int] = (0xFFFFFFFF,)
    outputs: Sequence[TxOut] = (TxOut(Amount(1000), b"\x51"),)
    index: int = 0
    value: int = 2000
    other: TxOut = _OTHER
    point: OutPoint | None = None  # what the spend takes, if there is such a coin

    def hashes(self, script_pub_key: bytes) -> TransactionHashes:
        inputs = [
            TxIn(outpoint(Hash32(sha256(bytes([at]))), at), sequence=sequence)
            for at, sequence in enumerate(self.sequences)
        ]
        if self.point is not None:
            inputs[self.index] = replace(inputs[self.index], outpoint=self.point)
        coins = [self.other] * len(inputs)
        coins[self.index] = TxOut(Amount(self.value), script_pub_key)
        tx = Transaction(self.version, inputs, self.outputs, self.lock_time)
        return TransactionHashes(tx, coins)

    def case(self, script_pub_key: bytes, script_sig: bytes, witness: Sequence[bytes]) -> Case:
        hashes = self.hashes(script_pub_key)
        tx = shown(hashes.transaction, self.index, script_sig, witness)
        coins = tuple((coin.value, coin.script) for coin in hashes.coins)
        return Case(tx.raw, coins, self.index)


@dataclass
class Leaf:
    """Where a tapscript stands: its version, its path, and an annex."""

    version: int = 0xC0
    path: Sequence[bytes] = ()
    annex: bytes | None = None


def tapscript_parts(script: bytes, leaf: Leaf) -> tuple[bytes, bytes]:
    """Return the output's script and the control block."""
    root = leaf_hash(leaf.version, script)
    for node in leaf.path:
        root = branch_hash(root, node)
    internal = KEYS[3].xonly
    output_key, parity = xonly.tweak_add(internal, tweak(internal, root))
    control = bytes([leaf.version | parity]) + internal + b"".join(leaf.path)
    return b"\x51\x20" + output_key, control


def lock(context: str, script: bytes, leaf: Leaf) -> bytes:
    """Return the script of an output that runs `script`."""
    if context == "base":
        return script
    if context == "tapscript":
        return tapscript_parts(script, leaf)[0]
    if context == "p2sh":
        return p2sh(script)
    native = b"\x00\x20" + sha256(script)
    return native if context == "v0" else p2sh(native)


def p2sh(script: bytes) -> bytes:
    return b"\xa9\x14" + hash160(script) + b"\x87"


def spend_script(
    draft: Draft, context: str, script: bytes, items: Sequence[Item], leaf: Leaf | None = None
) -> Case:
    """Return the spend that runs `script` in `context` on `items`, signatures made."""
    leaf = leaf or Leaf()
    script_pub_key = lock(context, script, leaf)
    hashes = InputHashes(draft.hashes(script_pub_key), draft.index)
    made = [
        item if isinstance(item, bytes) else signature(hashes, context, script, item, leaf)
        for item in items
    ]
    return assembled(draft, context, script, made, leaf)


def assembled(
    draft: Draft, context: str, script: bytes, items: Sequence[bytes], leaf: Leaf
) -> Case:
    script_pub_key = lock(context, script, leaf)
    pushes = b"".join(push(item) for item in items)
    if context == "base":
        return draft.case(script_pub_key, pushes, ())
    if context == "p2sh":
        return draft.case(script_pub_key, pushes + push(script), ())
    if context == "tapscript":
        control = tapscript_parts(script, leaf)[1]
        annex = () if leaf.annex is None else (leaf.annex,)
        return draft.case(script_pub_key, b"", (*items, script, control, *annex))
    script_sig = push(b"\x00\x20" + sha256(script)) if context == "wrapped_v0" else b""
    return draft.case(script_pub_key, script_sig, (*items, script))


def signature(hashes: InputHashes, context: str, script: bytes, item: Sign, leaf: Leaf) -> bytes:
    """Return a signature with its hash type, as the context asks for it."""
    code = script if item.code is None else item.code
    if context in LEGACY:
        digest = hashes.legacy(code, item.hash_type)
    elif context != "tapscript":
        digest = hashes.witness_v0(code, item.hash_type)
    else:
        place = item.separator.to_bytes(4, "little")
        extension = leaf_hash(leaf.version, script) + b"\x00" + place
        return schnorr(hashes, item.hash_type, leaf.annex, extension, item.key.private)
    return sign(item.key.private, digest) + bytes([item.hash_type])


def schnorr(
    hashes: InputHashes, hash_type: int, annex: bytes | None, extension: bytes, private: bytes
) -> bytes:
    """Return a Schnorr signature, its hash type behind it unless that is the default."""
    annex_hash = None if annex is None else sha256(with_size(annex))
    digest = hashes.taproot(hash_type, annex_hash, extension) or bytes(32)
    made = ssa.sign(digest, private, bytes(32), verify=False)
    return made + (bytes([hash_type]) if hash_type else b"")
