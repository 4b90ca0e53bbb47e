"""A growing regtest chain as the tests know it, and blocks made on it."""

from collections.abc import Sequence
from functools import cache
from random import Random

from chain.consensus.block_validation import created_coins
from chain.consensus.coin import Coin
from chain.consensus.entry import BlockTreeEntry
from chain.consensus.genesis import genesis_block
from chain.consensus.params import REGTEST
from chain.consensus.subsidy import block_subsidy
from chain.primitives.block import Block
from chain.primitives.numbers import Amount, Hash32, OutPoint, outpoint
from chain.primitives.transaction import SEQUENCE_FINAL, Transaction, TxIn, TxOut
from tests.builders import Key, assemble, coinbase, commit, sign_input
from tests.differential.keys import hybrid, uncompressed

KEYS = (Key(1), Key(2), Key(3), uncompressed(4), hybrid(5))
KEY_OF = {key.script: key for key in KEYS}
MATURITY = REGTEST.coinbase_maturity_blocks
FEE = 1000
COIN_MIN = 1_000_000  # a coin below could not pay for the outputs and fees of every mutation
Spendable = tuple[OutPoint, Coin]

ODD_SCRIPTS = {
    "empty": b"",
    "true": b"\x51",
    "false": b"\x00",
    "return": b"\x6a\x04four",
    "p2pk": b"\x21" + Key(1).public + b"\xac",
    "p2pkh": b"\x76\xa9\x14" + Key(1).key_hash + b"\x88\xac",
    "p2sh": b"\xa9\x14" + bytes(range(20)) + b"\x87",
    "p2wsh": b"\x00\x20" + bytes(range(32)),
    "p2tr": b"\x51\x20" + Key(1).public[1:],
    "anchor": b"\x51\x02\x4e\x73",
    "witness v16": b"\x60\x02ab",
    "v0 of 21 bytes": b"\x00\x15" + bytes(21),
    "pushdata p2wpkh": b"\x00\x4c\x14" + bytes(20),
    "cut push": b"\x4c\xff\x00",
    "10000 bytes": b"\x51" * 10_000,
    "10001 bytes": b"\x51" * 10_001,
}


class World:
    """The tree of blocks that were taken, and the coins at its tip.

    Whoever offers blocks tells `learn` what became of them.
    """

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        genesis = genesis_block(REGTEST)
        self.tip = BlockTreeEntry(genesis.header, None)
        self.entries = {self.tip.id: self.tip}
        self.blocks: dict[Hash32, Block] = {}
        self.refused: list[Block] = []
        self._coins: dict[Hash32, dict[OutPoint, Coin]] = {self.tip.id: {}}
        self._taken: set[OutPoint] = set()

    @property
    def height(self) -> int:
        """The height of the block to come."""
        return self.tip.height + 1

    def update_best_known(self, block: Block, tip: Hash32, *, accepted: bool) -> None:
        """Take note of an answer: whether `block` was accepted, and the tip after it."""
        if accepted:
            self.blocks.setdefault(block.id, block)  # the first copy is the one that is kept
        else:
            self.refused.append(block)
        self.tip = self.entry(tip)

    def entry(self, block_id: Hash32) -> BlockTreeEntry:
        """Return the place in the tree of a block that was taken, and whose ancestors were."""
        if block_id not in self.entries:
            header = self.blocks[block_id].header
            self.entries[block_id] = BlockTreeEntry(header, self.entry(header.previous))
        return self.entries[block_id]

    def begin(self) -> None:
        """Forget which coins `take` has given away."""
        self._taken.clear()

    def coins(self, at: BlockTreeEntry | None = None) -> dict[OutPoint, Coin]:
        """Return every coin after block `at`, by default the tip."""
        at = at or self.tip
        if at.id not in self._coins:
            assert at.parent is not None, "genesis is known"
            after = dict(self.coins(at.parent))
            for tx in self.blocks[at.id].transactions:
                for txin in tx.inputs:
                    after.pop(txin.outpoint, None)
                after.update(created_coins(tx, at.height))
            self._coins[at.id] = after
        return self._coins[at.id]

    def take(self, count: int = 1, *, at: BlockTreeEntry | None = None, key: Key | None = None):
        """Return coins that a block on `at` can spend, each given away once a mutation."""
        found: list[Spendable] = self.rng.sample(self.spendable(at, key), count)
        self._taken.update(point for point, _ in found)
        return found

    def spendable(
        self, at: BlockTreeEntry | None = None, key: Key | None = None
    ) -> list[Spendable]:
        """Return the coins of COIN_MIN or more that a block on `at` can spend, but those taken."""
        height = (at or self.tip).height + 1
        return [
            (point, coin)
            for point, coin in self.coins(at).items()
            if (coin.script in KEY_OF if key is None else coin.script == key.script)
            and point not in self._taken
            and coin.value >= COIN_MIN
            and (not coin.from_coinbase or height - coin.height >= MATURITY)
        ]

    def coinbase_coin(self, height: int) -> Spendable:
        """Return the coin that the best chain's coinbase at `height` made, if it is not spent."""
        first = self.blocks[self.tip.ancestor(height).id].transactions[0]
        point = outpoint(first.txid, 0)
        return point, self.coins()[point]

    def spend(self, coins: Sequence[Spendable], outputs: Sequence[TxOut] | None = None, **how):
        """Return a signed transaction; without outputs it pays the first coin's owner the rest."""
        return spend(coins, outputs, **how)

    def payment(self, **how) -> Transaction:
        """Return a transaction that any block on the tip may hold."""
        return spend(self.take(), **how)

    def first(self, value: int | None = None, *, parent: BlockTreeEntry | None = None, **how):
        """Return a coinbase no other is like; by default it pays the subsidy."""
        height = (parent or self.tip).height + 1
        how.setdefault("extra", self.rng.randbytes(8))
        how.setdefault("script", self.rng.choice(KEYS).script)
        subsidy = block_subsidy(height, REGTEST)
        return coinbase(height, subsidy if value is None else value, **how)

    def block(
        self,
        transactions: Sequence[Transaction] = (),
        *,
        parent: BlockTreeEntry | None = None,
        value: int | None = None,
        **header,
    ) -> Block:
        """Return a block with a commitment; its coinbase pays the subsidy, or `value`."""
        first = self.first(value, parent=parent)
        return self.assemble(commit([first, *transactions]), parent=parent, **header)

    def assemble(self, transactions: Sequence[Transaction], *, parent=None, **header) -> Block:
        """Return a solved block of exactly these transactions."""
        parent = parent or self.tip
        header.setdefault("time", parent.median_time_past + self.rng.randint(1, 900))
        return assemble(parent, transactions, **header)


def spend(
    coins: Sequence[Spendable],
    outputs: Sequence[TxOut] | None = None,
    *,
    fee: int = FEE,
    version: int = 2,
    sequence: int = SEQUENCE_FINAL,
    lock_time: int = 0,
    hash_type: int = 1,
) -> Transaction:
    """Return a transaction that spends `coins`, signed by each coin's key."""
    if outputs is None:
        rest = sum(coin.value for _, coin in coins) - fee
        outputs = [TxOut(Amount(rest), coins[0][1].script)]
    inputs = [TxIn(point, sequence=sequence) for point, _ in coins]
    tx = Transaction(version, inputs, outputs, lock_time)
    for index, (_, coin) in enumerate(coins):
        tx = sign_input(tx, index, coin.value, KEY_OF[coin.script], hash_type)
    return tx


@cache
def base_blocks() -> tuple[Block, ...]:
    """Return 125 blocks that give every key mature coins, and odd outputs that cannot be spent."""
    world = World(Random(125))
    for height in range(1, 126):
        payments = []
        if 101 <= height <= 106:
            coin = world.coinbase_coin(height - 100)
            each = Amount((coin[1].value - FEE) // 20)
            outputs = [TxOut(each, KEYS[n % len(KEYS)].script) for n in range(20)]
            payments.append(spend([coin], outputs))
        elif height == 107:
            odd = [TxOut(Amount(10_000), script) for script in ODD_SCRIPTS.values()]
            payments.append(spend([world.coinbase_coin(7)], odd))
        block = world.block(payments)
        world.update_best_known(block, block.id, accepted=True)
    return tuple(world.blocks.values())
