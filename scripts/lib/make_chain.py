"""Write a regtest block file (Bitcoin Core's framing) full of 1-in-2-out P2WPKH payments.

`scripts/make_chain --blocks 300 --transactions 1000 --out FILE`: that many full blocks, after those
that create and spread the coins. Equal arguments give equal bytes. Each output has its own key, or
with `--addresses N` the outputs pay to N keys in turn; the spent coins are drawn from all.
"""

import argparse
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Final

from chain.consensus.block_validation import witness_commitment_script
from chain.consensus.entry import BlockTreeEntry
from chain.consensus.genesis import genesis_block
from chain.consensus.params import REGTEST
from chain.consensus.subsidy import block_subsidy
from chain.consensus.work import meets_target
from chain.ledger.offline.blockfile import write_frame
from chain.primitives.block import Block, Header
from chain.primitives.hashes import hash160
from chain.primitives.merkle import merkle_root
from chain.primitives.numbers import NULL_OUTPOINT, Amount, OutPoint, outpoint
from chain.primitives.script import p2wpkh_script, push, push_number
from chain.primitives.sighash import SIGHASH_ALL, SignatureHasher
from chain.primitives.signature import public_key, sign
from chain.primitives.transaction import Transaction, TxIn, TxOut

FEE: Final = 150
FAN_OUT: Final = 200  # outputs of a transaction that spreads a coinbase
_VALUE_MIN: Final = 2 * FEE + 2  # least value of a coin to split in two
_NONCE: Final = bytes(32)
_PUBLIC_KEYS_MAX: Final = 100_000  # held in memory

Coin = tuple[OutPoint, int, int]  # outpoint, value, key number


class Chain:
    """A chain that grows block by block, and its spendable coins."""

    def __init__(self, seed: int, keys_max: int | None = None) -> None:
        """Start at genesis; with `keys_max`, so many keys are paid to in turn."""
        self.tip = BlockTreeEntry(genesis_block(REGTEST).header, None)
        self.coins: list[Coin] = []
        self._coinbases: list[Coin] = []  # the oldest first
        self._random = Random(seed)  # noqa: S311 - reproducible
        self._outputs = 0
        self._keys_max = keys_max

    def empty(self) -> Block:
        """Add a block without payments."""
        return self._add([])

    def spread(self, count: int) -> Block:
        """Add a block of `count` transactions that each split a coinbase into FAN_OUT coins."""
        return self._add([self._pay(self._coinbases.pop(0), FAN_OUT) for _ in range(count)])

    def full(self, count: int) -> Block:
        """Add a block of `count` transactions that each split a coin in two."""
        taken = [self._take() for _ in range(count)]
        return self._add([self._pay(coin, 2) for coin in taken])

    def _take(self) -> Coin:
        while True:
            coins = self.coins
            at = self._random.randrange(len(coins))
            coins[at], coins[-1] = coins[-1], coins[at]
            coin = coins.pop()
            if coin[1] >= _VALUE_MIN:
                return coin

    def _pay(self, coin: Coin, outputs: int) -> Transaction:
        point, value, key = coin
        each = (value - FEE) // outputs
        keys = [self._next_key() for _ in range(outputs)]
        paid = [TxOut(Amount(each), _script(key)) for key in keys]
        unsigned = Transaction(2, [TxIn(point)], paid)
        public = _public(key)
        digest = SignatureHasher(unsigned).hash(0, hash160(public), Amount(value), SIGHASH_ALL)
        witness = (sign(_private(key), digest) + bytes([SIGHASH_ALL]), public)
        signed = Transaction(2, [TxIn(point, witness=witness)], paid)
        self.coins += [(outpoint(signed.txid, i), each, key) for i, key in enumerate(keys)]
        return signed

    def _next_key(self) -> int:
        key = self._outputs if self._keys_max is None else self._outputs % self._keys_max
        self._outputs += 1
        return key

    def _add(self, payments: Sequence[Transaction]) -> Block:
        height = self.tip.height + 1
        value = block_subsidy(height, REGTEST)
        txin = TxIn(NULL_OUTPOINT, push_number(height) + push(b"groat"), witness=(_NONCE,))
        key = self._next_key()
        out = TxOut(value, _script(key))
        body = [Transaction(2, [txin], [out]), *payments]
        root = Block(self.tip.header, body).witness_root
        commitment = TxOut(Amount(0), witness_commitment_script(root, _NONCE))
        body[0] = Transaction(2, [txin], [out, commitment])
        self._coinbases.append((outpoint(body[0].txid, 0), value, key))
        block = Block(_solved(self._header(body)), body)
        self.tip = BlockTreeEntry(block.header, self.tip)
        return block

    def _header(self, body: Sequence[Transaction]) -> Header:
        root = merkle_root([tx.txid for tx in body])[0]
        bits, time = self.tip.header.bits, self.tip.header.time
        return Header(4, self.tip.id, root, time + REGTEST.spacing_s, bits, 0)


def make_blocks(
    blocks: int, transactions: int, seed: int, keys_max: int | None = None
) -> Iterator[Block]:
    """Yield the chain's blocks, from height 1."""
    chain = Chain(seed, keys_max)
    fans = -(-transactions // FAN_OUT)
    for _ in range(REGTEST.coinbase_maturity_blocks + fans):
        yield chain.empty()
    yield chain.spread(fans)
    for _ in range(blocks):
        yield chain.full(transactions)


def _private(number: int) -> bytes:
    return hashlib.sha256(b"groat benchmark key %d" % number).digest()


@lru_cache(maxsize=_PUBLIC_KEYS_MAX)
def _public(number: int) -> bytes:
    return public_key(_private(number))


def _script(key: int) -> bytes:
    return p2wpkh_script(hash160(_public(key)))


def _solved(header: Header) -> Header:
    while not meets_target(header.id, header.bits, REGTEST):
        header = replace(header, nonce=header.nonce + 1)
    return header


def main() -> None:
    """Read the flags, make the blocks and write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=300, help="full blocks")
    parser.add_argument("--transactions", type=int, default=1000, help="payments in each")
    parser.add_argument("--seed", type=int, default=1, help="chooses which coins are spent")
    parser.add_argument("--addresses", type=int, help="how many are paid to; default: all are new")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    flags = parser.parse_args()
    with flags.out.open("wb") as file:
        made = make_blocks(flags.blocks, flags.transactions, flags.seed, flags.addresses)
        for block in made:
            write_frame(file, block.raw, REGTEST)
    print(f"{flags.out}: {flags.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
