"""Block templates: blocks that lack only a nonce."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from chain.consensus.block_validation import (
    BLOCK_SIGOPS_COST_MAX,
    check_block_context,
    connect_block,
    witness_commitment_script,
)
from chain.consensus.coin import CoinView
from chain.consensus.entry import BlockTreeEntry
from chain.consensus.errors import InvalidError, Reason
from chain.consensus.params import Params
from chain.consensus.subsidy import block_subsidy
from chain.consensus.transaction import BLOCK_WEIGHT_MAX
from chain.consensus.work import next_bits
from chain.node.entry import PoolEntry
from chain.node.selection import BlockSpace
from chain.primitives.block import Block, Header
from chain.primitives.compact import target_from_bits
from chain.primitives.hashes import sha256d
from chain.primitives.merkle import merkle_branch, merkle_root
from chain.primitives.numbers import NULL_HASH, NULL_OUTPOINT, Amount, Hash32, Height, outpoint_txid
from chain.primitives.script import push, push_number
from chain.primitives.transaction import Transaction, TxIn, TxOut

BLOCK_VERSION: Final = 0x20000000  # BIP9: no signals
HEADER_TIME_MAX: Final = 0xFFFF_FFFF
EXTRANONCE_BYTES: Final = 8
RESERVED_WEIGHT: Final = 8_000  # for header, count and coinbase, also an external miner's
RESERVED_SIGOPS_COST: Final = 400
TEMPLATE_ROOM: Final = BlockSpace(
    BLOCK_WEIGHT_MAX - RESERVED_WEIGHT, BLOCK_SIGOPS_COST_MAX - RESERVED_SIGOPS_COST
)
WITNESS_NONCE: Final = bytes(32)  # BIP141: the coinbase's witness
# BIP54: a coinbase locked to the previous height never repeats an earlier one's id.
_COINBASE_SEQUENCE: Final = 0xFFFFFFFE


@dataclass(frozen=True)
class Template:
    """A block on `parent` that is valid except for its proof of work; also a miner's Job."""

    params: Params
    parent: BlockTreeEntry
    script: bytes  # that the coinbase pays to
    entries: tuple[PoolEntry, ...]  # in block order, without the coinbase
    time: int
    version: int = BLOCK_VERSION
    bits: int = field(init=False)

    def __post_init__(self) -> None:
        parent = self.parent
        bits = next_bits(parent.height, parent.header.time, parent.anchor_time, self.params)
        object.__setattr__(self, "bits", bits)

    @property
    def height(self) -> Height:
        """The block's height."""
        return Height(self.parent.height + 1)

    @property
    def time_min(self) -> int:
        return self.parent.median_time_past + 1

    @property
    def target(self) -> int:
        target = target_from_bits(self.bits)
        assert target is not None, "the rules give bits that mean a target"
        return target

    @property
    def coinbase_value(self) -> Amount:
        """The amount of the coinbase: subsidy and fees."""
        return Amount(block_subsidy(self.height, self.params) + sum(e.fee for e in self.entries))

    @cached_property
    def depends(self) -> tuple[tuple[int, ...], ...]:
        """For each entry the positions, from 1, of the earlier entries whose coins it spends."""
        positions = {entry.txid: number for number, entry in enumerate(self.entries, 1)}
        return tuple(
            tuple(sorted({positions[p] for p in _spent_txids(entry) if p in positions}))
            for entry in self.entries
        )

    @cached_property
    def commitment_script(self) -> bytes:
        """The output script that commits to the witnesses (BIP141)."""
        root = merkle_root([NULL_HASH, *(entry.wtxid for entry in self.entries)])[0]
        return witness_commitment_script(root, WITNESS_NONCE)

    def coinbase(self, extranonce: int) -> Transaction:
        """Return the coinbase: BIP34's height, the network's magic and the extranonce (64 bits).

        The magic makes coinbase ids differ between networks.
        """
        unique = self.params.magic + extranonce.to_bytes(EXTRANONCE_BYTES, "little")
        return Transaction(
            version=2,
            inputs=[
                TxIn(
                    NULL_OUTPOINT,
                    push_number(self.height) + push(unique),
                    _COINBASE_SEQUENCE,
                    (WITNESS_NONCE,),
                )
            ],
            outputs=[
                TxOut(self.coinbase_value, self.script),
                TxOut(Amount(0), self.commitment_script),
            ],
            lock_time=self.height - 1,
        )

    def header(self, extranonce: int, time: int) -> Header:
        root = self.coinbase(extranonce).txid
        for sibling in self._branch:
            root = sha256d(root + sibling)
        return Header(self.version, self.parent.id, root, time, self.bits, 0)

    def block(self, header: Header, extranonce: int) -> Block:
        transactions = (entry.transaction for entry in self.entries)
        return Block(header, [self.coinbase(extranonce), *transactions])

    @property
    def unsolved(self) -> Block:
        """The block with extranonce 0 and nonce 0."""
        return self.block(self.header(0, self.time), 0)

    @cached_property
    def _branch(self) -> list[Hash32]:
        return merkle_branch([NULL_HASH, *(entry.txid for entry in self.entries)], 0)


def template_time(parent: BlockTreeEntry, now: int, params: Params) -> int:
    """Return the time for a block on `parent`: now, or the earliest that is allowed.

    Raises InvalidError: TIME_TOO_NEW, if block times are as far ahead of the clock as allowed, or
    at the end of 32 bits.
    """
    time = max(now, parent.median_time_past + 1)
    if time > min(now + params.header_ahead_s_max, HEADER_TIME_MAX):
        raise InvalidError(Reason.TIME_TOO_NEW, f"{time - now} s ahead")
    return time


def find_invalid_entry(template: Template, coins: CoinView) -> PoolEntry | None:
    """Return the first entry that makes the template's block invalid, or None if it is valid.

    `coins` are the ledger's at `template.parent`. Signatures were verified on arrival. Raises
    InvalidError if even a block of only the coinbase is invalid.
    """
    entries = template.entries
    if _error_of(template, entries, coins) is None:
        return None
    good, bad = 0, len(entries)  # numbers of entries that give a valid and an invalid block
    error = _error_of(template, (), coins)
    if error is not None:
        raise error
    while bad - good > 1:
        middle = (good + bad) // 2
        if _error_of(template, entries[:middle], coins) is None:
            good = middle
        else:
            bad = middle
    return entries[good]


def _error_of(
    template: Template, entries: Sequence[PoolEntry], coins: CoinView
) -> InvalidError | None:
    shorter = Template(
        template.params, template.parent, template.script, tuple(entries), template.time
    )
    block = shorter.unsolved
    try:
        check_block_context(block, template.parent)
        connect_block(block, template.parent, coins, template.params)
    except InvalidError as error:
        return error
    return None


def _spent_txids(entry: PoolEntry) -> list[Hash32]:
    return [outpoint_txid(txin.outpoint) for txin in entry.transaction.inputs]
