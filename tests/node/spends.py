"""Spends of outputs of every kind, for the tests of the mempool."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from chain.consensus.coin import Coin
from chain.primitives.block import Block
from chain.primitives.hashes import hash160
from chain.primitives.numbers import Amount, Hash32, Height, outpoint
from chain.primitives.script import p2pkh_script, p2wpkh_script, push
from chain.primitives.sighash import SIGHASH_ALL
from chain.primitives.signature import sign
from chain.primitives.transaction import Transaction, TxIn, TxOut, decode_transaction
from chain.script.hashes import InputHashes
from tests.builders import pay
from tests.node.world import COIN, Held
from tests.script.locks import KEYS, Draft, Item, Leaf, Sign, lock, p2sh, schnorr, spend_script

ANCHOR = b"\x51\x02\x4e\x73"
FEE = 20_000
KEY = KEYS[0]
PUBLIC = KEY.compressed
CHECKSIG = b"\xac"
MULTISIG = b"\x52" + b"".join(push(key.compressed) for key in KEYS[:3]) + b"\x53\xae"
SIGNED_TWICE = (b"", Sign(KEYS[0]), Sign(KEYS[1]))


class Funds(Protocol):
    """What makes coins: a World, or coinbases of a chain."""

    def fund(self, *, script: bytes) -> Held:
        """Return a new coin."""


class Wanted:
    """Only notes the scripts that coins are wanted of."""

    def __init__(self) -> None:
        self.scripts: list[bytes] = []

    def fund(self, *, script: bytes) -> Held:
        self.scripts.append(script)
        point = outpoint(Hash32(bytes(31) + b"\x01"), 0)
        return point, Coin(Amount(COIN), script, Height(1), from_coinbase=True)


class Coinbases:
    """The coins of blocks that were mined to the scripts of `Wanted`, in that order."""

    def __init__(self, blocks: Sequence[Block], height: int = 1) -> None:
        self._left = [(block.transactions[0], height + at) for at, block in enumerate(blocks)]

    def fund(self, *, script: bytes) -> Held:
        first, height = self._left.pop(0)
        out = first.outputs[0]
        assert out.script == script, "coins come in the order in which they were wanted"
        return outpoint(first.txid, 0), Coin(out.value, script, Height(height), from_coinbase=True)


@dataclass
class Spend:
    """A coin of a kind, and what unlocks it."""

    context: str
    script: bytes
    items: Sequence[Item] = ()
    leaf: Leaf | None = None

    def transaction(self, world: Funds, fee: int = FEE, **how: object) -> Transaction:
        """Fund a coin of this kind and return the transaction that spends it."""
        script = lock(self.context, self.script, self.leaf or Leaf())
        draft = _draft(world, script, fee, **how)
        case = spend_script(draft, self.context, self.script, self.items, self.leaf)
        return decode_transaction(case.raw)


def _draft(world: Funds, script: bytes, fee: int = FEE, **how: object) -> Draft:
    point, coin = world.fund(script=script)
    outputs = (pay(coin.value - fee),)
    return Draft(**{"outputs": outputs, "value": coin.value, "point": point, **how})  # type: ignore[arg-type]


def key_path(world: Funds) -> Transaction:
    """Return a spend of a Taproot output by its key."""
    script = b"\x51\x20" + KEY.xonly
    draft = _draft(world, script)
    signature = schnorr(InputHashes(draft.hashes(script), 0), 0, None, b"", KEY.private)
    return decode_transaction(draft.case(script, b"", (signature,)).raw)


def witness_key(world: Funds, *, is_wrapped: bool) -> Transaction:
    """Return a spend of P2WPKH, or of P2SH-P2WPKH."""
    program = p2wpkh_script(hash160(PUBLIC))
    script = p2sh(program) if is_wrapped else program
    draft = _draft(world, script)
    digest = InputHashes(draft.hashes(script), 0).witness_v0(p2pkh_script(program[2:]), SIGHASH_ALL)
    witness = (sign(KEY.private, digest) + b"\x01", PUBLIC)
    script_sig = push(program) if is_wrapped else b""
    return decode_transaction(draft.case(script, script_sig, witness).raw)


KINDS: dict[str, Callable[[Funds], Transaction]] = {
    "p2pk": Spend("base", push(PUBLIC) + CHECKSIG, [Sign(KEY)]).transaction,
    "p2pkh": Spend("base", p2pkh_script(hash160(PUBLIC)), [Sign(KEY), PUBLIC]).transaction,
    "multisig": Spend("base", MULTISIG, SIGNED_TWICE).transaction,
    "p2sh-multisig": Spend("p2sh", MULTISIG, SIGNED_TWICE).transaction,
    "p2wpkh": lambda world: witness_key(world, is_wrapped=False),
    "p2sh-p2wpkh": lambda world: witness_key(world, is_wrapped=True),
    "p2wsh-multisig": Spend("v0", MULTISIG, SIGNED_TWICE).transaction,
    "p2sh-p2wsh-multisig": Spend("wrapped_v0", MULTISIG, SIGNED_TWICE).transaction,
    "p2tr-key": key_path,
    "p2tr-script": Spend("tapscript", push(KEY.xonly) + CHECKSIG, [Sign(KEY)]).transaction,
    "anchor": Spend("base", ANCHOR).transaction,
}

# Valid in a block, and refused under a flag of policy.
NOT_WRONG: dict[str, Spend] = {
    "NULLFAIL": Spend("v0", push(PUBLIC) + b"\xac\x75\x51", [Sign(KEY, code=b"\x51")]),
    "MINIMALIF": Spend("v0", b"\x63\x51\x68", [b"\x02"]),
    "CLEANSTACK": Spend("p2sh", b"\x51", [b"\x51"]),
    "MINIMALDATA": Spend("p2sh", b"\x75\x01\x01", [b"\x51"]),
    "DISCOURAGE_UPGRADABLE_NOPS": Spend("p2sh", b"\xb0\x51"),
    "CONST_SCRIPTCODE": Spend("p2sh", b"\xab\x51"),
    "OP_SUCCESS": Spend("tapscript", b"\x50"),
    "LEAF_VERSION": Spend("tapscript", b"\x51", leaf=Leaf(version=0xC2)),
    "PUBKEYTYPE": Spend("tapscript", push(b"\x01" * 33) + b"\xac", [bytes(64)]),
    "STRICTENC": Spend("p2sh", push(KEY.hybrid) + CHECKSIG, [Sign(KEY)]),
    "WITNESS_PUBKEYTYPE": Spend("v0", push(KEY.full) + CHECKSIG, [Sign(KEY)]),
    "HASHTYPE": Spend("v0", push(PUBLIC) + CHECKSIG, [Sign(KEY, hash_type=4)]),
}


def unlocked(
    world: Funds, spends: Sequence[tuple[Spend, bytes, tuple[bytes, ...]]], fee: int = FEE
) -> Transaction:
    """Return a transaction that spends coins of several kinds without signatures.

    Each is a spend (for its coin), a scriptSig and a witness.
    """
    inputs, total = [], 0
    for spend, script_sig, witness in spends:
        point, coin = world.fund(script=lock(spend.context, spend.script, spend.leaf or Leaf()))
        inputs.append(TxIn(point, script_sig, witness=witness))
        total += coin.value
    return Transaction(2, inputs, [TxOut(Amount(total - fee), pay(0).script)])
