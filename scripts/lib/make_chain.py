"""Write a regtest block file (Bitcoin Core's framing) full of payments with 1 input and 2 outputs.

`scripts/make_chain --blocks 300 --transactions 1000 --out FILE`: that many full blocks, after those
that create and spread the coins. Equal arguments give equal bytes. Each output has its own key, or
with `--addresses N` the outputs pay to N keys in turn; the spent coins are drawn from all.
With `--small N`, so many blocks follow (or, with `--blocks 0`, are all there is) as a young network
has them: none or one payment in turn.
Outputs are P2WPKH, or with `--mixed` in turn P2TR (spent by key), P2WSH (2 of 3), P2PKH, P2WPKH in
P2SH, and P2TR (spent by script).
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Final

from spending import MIXED, P2WPKH_ONLY, OutputKind

from chain.consensus.block_validation import witness_commitment_script
from chain.consensus.entry import BlockTreeEntry
from chain.consensus.genesis import genesis_block
from chain.consensus.params import REGTEST
from chain.consensus.subsidy import block_subsidy
from chain.consensus.work import meets_target
from chain.ledger.offline.blockfile import write_frame
from chain.primitives.block import Block, Header
from chain.primitives.merkle import merkle_root
from chain.primitives.numbers import NULL_OUTPOINT, Amount, OutPoint, outpoint
from chain.primitives.script import push, push_number
from chain.primitives.transaction import Transaction, TxIn, TxOut
from chain.script.hashes import InputHashes, TransactionHashes

FEE: Final = 150
FAN_OUT: Final = 200  # outputs of a transaction that spreads a coinbase
_VALUE_MIN: Final = 2 * FEE + 2  # least value of a coin to split in two
_NONCE: Final = bytes(32)

Coin = tuple[OutPoint, int, int]  # outpoint, value, key number


class Chain:
    """A chain that grows block by block, and its spendable coins."""

    def __init__(
        self,
        seed: int,
        keys_max: int | None = None,
        kinds: Sequence[OutputKind] = P2WPKH_ONLY,
    ) -> None:
        """Start at genesis; with `keys_max`, so many keys are paid to in turn, `kinds` in turn."""
        self._kinds = kinds
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
        each = (coin[1] - FEE) // outputs
        keys = [self._next_key() for _ in range(outputs)]
        paid = [TxOut(Amount(each), self._script(number)) for number in keys]
        signed = self._signed(coin, paid)
        self.coins += [(outpoint(signed.txid, i), each, key) for i, key in enumerate(keys)]
        return signed

    def _signed(self, coin: Coin, paid: Sequence[TxOut]) -> Transaction:
        """Return the transaction that spends a coin to these outputs."""
        point, value, key = coin
        unsigned = Transaction(2, [TxIn(point)], paid)
        hashes = TransactionHashes(unsigned, [TxOut(Amount(value), self._script(key))])
        script_sig, witness = self._kind(key).unlock(key, InputHashes(hashes, 0))
        return Transaction(2, [TxIn(point, script_sig, witness=witness)], paid)

    def _kind(self, key: int) -> OutputKind:
        return self._kinds[key % len(self._kinds)]

    def _script(self, key: int) -> bytes:
        return self._kind(key).script(key)

    def _next_key(self) -> int:
        key = self._outputs if self._keys_max is None else self._outputs % self._keys_max
        self._outputs += 1
        return key

    def _add(self, payments: Sequence[Transaction]) -> Block:
        height = self.tip.height + 1
        value = block_subsidy(height, REGTEST)
        txin = TxIn(NULL_OUTPOINT, push_number(height) + push(b"groat"), witness=(_NONCE,))
        key = self._next_key()
        out = TxOut(value, self._script(key))
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


def make_blocks(chain: Chain, blocks: int, transactions: int, small: int) -> Iterator[Block]:
    """Yield the chain's blocks, from height 1."""
    fans = -(-transactions // FAN_OUT)
    for _ in range(REGTEST.coinbase_maturity_blocks + fans):
        yield chain.empty()
    yield chain.spread(fans)
    for _ in range(blocks):
        yield chain.full(transactions)
    for number in range(small):
        yield chain.full(number % 2)


def small_chain(folder: Path, blocks: int) -> Path:
    """Write a file of so many blocks with no payment or one, and return its path."""
    file = folder / "small.dat"
    with file.open("wb") as stream:
        for block in make_blocks(Chain(seed=1), 0, 1, blocks):
            write_frame(stream, block.raw, REGTEST)
    return file


def _solved(header: Header) -> Header:
    while not meets_target(header.id, header.bits, REGTEST):
        header = replace(header, nonce=header.nonce + 1)
    return header


def main() -> None:
    """Read the flags, make the blocks and write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=300, help="full blocks")
    parser.add_argument("--transactions", type=int, default=1000, help="payments in each")
    parser.add_argument("--small", type=int, default=0, help="blocks with 0 or 1 payment, last")
    parser.add_argument("--seed", type=int, default=1, help="chooses which coins are spent")
    parser.add_argument("--addresses", type=int, help="how many are paid to; default: all are new")
    parser.add_argument("--mixed", action="store_true", help="five kinds of outputs, not P2WPKH")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    flags = parser.parse_args()
    with flags.out.open("wb") as file:
        chain = Chain(flags.seed, flags.addresses, MIXED if flags.mixed else P2WPKH_ONLY)
        for block in make_blocks(chain, flags.blocks, flags.transactions, flags.small):
            write_frame(file, block.raw, REGTEST)
    print(f"{flags.out}: {flags.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
