"""Builders of blocks, transactions and keys for tests; every value can be overridden."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from chain.consensus.block_validation import witness_commitment_script
from chain.consensus.coin import Coin
from chain.consensus.entry import BlockTreeEntry
from chain.consensus.genesis import genesis_block
from chain.consensus.params import REGTEST, Params
from chain.consensus.subsidy import block_subsidy
from chain.consensus.work import meets_target, next_bits
from chain.primitives.block import Block, Header
from chain.primitives.hashes import hash160
from chain.primitives.merkle import merkle_root
from chain.primitives.numbers import NULL_OUTPOINT, Amount, Hash32, OutPoint, outpoint
from chain.primitives.script import p2wpkh_script, push, push_number
from chain.primitives.sighash import SIGHASH_ALL, SignatureHasher
from chain.primitives.signature import public_key, sign
from chain.primitives.transaction import Transaction, TxIn, TxOut

ZERO_NONCE = bytes(32)


@dataclass(frozen=True)
class Key:
    """A key made from a number; equal numbers give equal keys."""

    number: int = 1
    private: bytes = field(init=False, repr=False)
    public: bytes = field(init=False)
    script: bytes = field(init=False)

    def __post_init__(self) -> None:
        private = hashlib.sha256(b"groat test key %d" % self.number).digest()
        object.__setattr__(self, "private", private)
        object.__setattr__(self, "public", public_key(private))
        object.__setattr__(self, "script", p2wpkh_script(self.key_hash))

    @property
    def key_hash(self) -> bytes:
        return hash160(self.public)


KEY = Key(1)


def sign_input(
    tx: Transaction, index: int, value: int, key: Key = KEY, hash_type: int = SIGHASH_ALL
) -> Transaction:
    """Return `tx` with input `index` signed by `key` for a P2WPKH coin of `value` grains."""
    digest = SignatureHasher(tx).hash(index, key.key_hash, Amount(value), hash_type)
    witness = (sign(key.private, digest) + bytes([hash_type]), key.public)
    inputs = list(tx.inputs)
    inputs[index] = replace(inputs[index], witness=witness)
    return Transaction(tx.version, inputs, tx.outputs, tx.lock_time)


def spend(
    coins: Sequence[tuple[OutPoint, Coin]],
    outputs: Sequence[TxOut],
    *,
    key: Key = KEY,
    version: int = 2,
    sequence: int = 0xFFFFFFFF,
    lock_time: int = 0,
) -> Transaction:
    """Return a signed transaction that spends `coins`, all locked to `key`."""
    inputs = [TxIn(point, sequence=sequence) for point, _ in coins]
    tx = Transaction(version, inputs, outputs, lock_time)
    for index, (_, coin) in enumerate(coins):
        tx = sign_input(tx, index, coin.value, key)
    return tx


def pay(value: int, key: Key = KEY) -> TxOut:
    return TxOut(Amount(value), key.script)


def output_of(tx: Transaction, index: int = 0) -> OutPoint:
    return outpoint(tx.txid, index)


def coinbase(
    height: int,
    value: int,
    *,
    script: bytes = KEY.script,
    extra: bytes = b"",
    outputs: Sequence[TxOut] | None = None,
    witness: tuple[bytes, ...] = (ZERO_NONCE,),
) -> Transaction:
    """Return a coinbase that pays `value`; `extra` follows the height and makes it unique."""
    script_sig = push_number(height) + push(extra or b"groat")
    paid = [TxOut(Amount(value), script)] if outputs is None else outputs
    return Transaction(2, [TxIn(NULL_OUTPOINT, script_sig, witness=witness)], paid)


def commit(transactions: Sequence[Transaction], nonce: bytes = ZERO_NONCE) -> list[Transaction]:
    """Return the transactions with a witness commitment appended to the coinbase."""
    first = transactions[0]
    header = Header(4, Hash32(bytes(32)), Hash32(bytes(32)), 0, 0, 0)
    root = Block(header, transactions).witness_root
    output = TxOut(Amount(0), witness_commitment_script(root, nonce))
    outputs = [*first.outputs, output]
    return [Transaction(first.version, first.inputs, outputs, first.lock_time), *transactions[1:]]


def solve(header: Header, params: Params = REGTEST) -> Header:
    """Return the header with the first nonce that meets its bits."""
    for nonce in range(header.nonce, 1 << 32):
        solved = replace(header, nonce=nonce)
        if meets_target(solved.id, solved.bits, params):
            return solved
    raise AssertionError("no nonce meets the bits")


def block_on(
    parent: BlockTreeEntry,
    transactions: Sequence[Transaction] = (),
    *,
    params: Params = REGTEST,
    fees: int = 0,
    script: bytes = KEY.script,
    extra: bytes = b"",
    time: int | None = None,
    version: int = 4,
    bits: int | None = None,
) -> Block:
    """Return a solved block on `parent`: a coinbase for subsidy and `fees`, then `transactions`."""
    height = parent.height + 1
    value = block_subsidy(height, params) + fees
    first = coinbase(height, value, script=script, extra=extra)
    return assemble(
        parent, commit([first, *transactions]), params=params, time=time, version=version, bits=bits
    )


def assemble(
    parent: BlockTreeEntry,
    transactions: Sequence[Transaction],
    *,
    params: Params = REGTEST,
    time: int | None = None,
    version: int = 4,
    bits: int | None = None,
) -> Block:
    """Return a solved block of exactly these transactions."""
    header = Header(
        version=version,
        previous=parent.id,
        merkle_root=merkle_root([tx.txid for tx in transactions])[0],
        time=max(parent.header.time + 1, parent.median_time_past + 1) if time is None else time,
        bits=bits or next_bits(parent.height, parent.header.time, parent.anchor_time, params),
        nonce=0,
    )
    return Block(solve(header, params), transactions)


class ChainBuilder:
    """A chain of empty or given blocks that grows in memory; knows its tree entries."""

    def __init__(self, params: Params = REGTEST, *, tip: BlockTreeEntry | None = None) -> None:
        self.params = params
        self.tip = tip or BlockTreeEntry(genesis_block(params).header, None)
        self.blocks: list[Block] = []

    def add(self, transactions: Sequence[Transaction] = (), **how: object) -> Block:
        """Mine a block on the tip and return it; keywords as `block_on`."""
        block = block_on(self.tip, transactions, params=self.params, **how)  # type: ignore[arg-type]
        self.append(block)
        return block

    def append(self, block: Block) -> None:
        """Take a block made elsewhere as the new tip."""
        self.blocks.append(block)
        self.tip = BlockTreeEntry(block.header, self.tip)

    def grow(self, count: int, **how: object) -> list[Block]:
        """Mine `count` empty blocks."""
        return [self.add(**how) for _ in range(count)]

    def fork(self, back: int) -> "ChainBuilder":
        """Return another builder whose tip is `back` blocks below this one's."""
        other = ChainBuilder(self.params, tip=self.tip.ancestor(self.tip.height - back))
        other.blocks = self.blocks[: len(self.blocks) - back]
        return other

    def coinbase_coin(self, height: int) -> tuple[OutPoint, Coin]:
        """Return the coin that the coinbase at `height` made, spendable by KEY if mature."""
        first = self.blocks[height - 1].transactions[0]
        out = first.outputs[0]
        return output_of(first), Coin(out.value, out.script, height, from_coinbase=True)  # type: ignore[arg-type]
