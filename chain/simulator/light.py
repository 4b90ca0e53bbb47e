"""The light backend for large networks: dicts, real rules, one shared verdict for each block."""

from collections.abc import Sequence
from contextlib import suppress

from chain.consensus.coin import Coin
from chain.consensus.entry import BlockTreeEntry, fork_point
from chain.consensus.errors import InvalidError, Reason
from chain.consensus.transaction import check_inputs, check_transaction
from chain.gossip.actions import (
    ReadBlocks,
    ReadHeaders,
    ValidateBlocks,
    ValidateHeaders,
    ValidateTx,
)
from chain.gossip.events import (
    BlocksRead,
    BlockVerdict,
    BlockVerdicts,
    HeadersRead,
    HeadersVerdict,
    TxOutcome,
    TxVerdict,
)
from chain.gossip.wire.messages import BlockMessage
from chain.node.entry import PoolEntry
from chain.node.ledger_requests import LedgerReply, LedgerRequest
from chain.node.template import Template, template_time
from chain.primitives.block import Block, Header
from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import Hash32, OutPoint, outpoint_txid
from chain.primitives.transaction import Transaction
from chain.simulator.payments import SharedPool
from chain.simulator.solve import solved
from chain.simulator.universe import Universe


class LightChain:
    """One node's headers, blocks and best chain, out of the universe."""

    def __init__(self, universe: Universe) -> None:
        self._universe = universe
        genesis = universe.genesis
        self._headers: dict[Hash32, BlockTreeEntry] = {genesis.id: genesis}
        self._blocks: dict[Hash32, Block | None] = {genesis.id: None}
        self._unlinked: dict[Hash32, dict[Hash32, bytes]] = {}  # bodies, by parent, of no body
        self._invalid: dict[Hash32, None] = {}
        self.tip = genesis
        self.best_header = genesis

    def get(self, block_id: Hash32, /) -> BlockTreeEntry | None:
        return self._headers.get(block_id)

    def has_block(self, block_id: Hash32, /) -> bool:
        """Return whether the block is stored."""
        if block_id in self._blocks:
            return True
        entry = self._headers.get(block_id)
        return entry is not None and block_id in self._unlinked.get(entry.header.previous, ())

    def has_data(self, entry: BlockTreeEntry, /) -> bool:
        """Return whether an entry's block is stored."""
        return self.has_block(entry.id)

    def block(self, block_id: Hash32) -> Block | None:
        """Return a stored block."""
        return self._blocks.get(block_id)

    def add_headers(
        self, headers: Sequence[Header], now: int
    ) -> tuple[BlockTreeEntry | None, int, InvalidError | None]:
        """Add headers; return the last one added, the number of new ones, and the first error."""
        last, added = None, 0
        for header in headers:
            before = len(self._headers)
            try:
                last = self._add_header(header, now)
            except InvalidError as error:
                return last, added, error
            added += len(self._headers) - before
        return last, added, None

    def add_block(self, raw: bytes, header: Header, now: int) -> None:
        """Add a block and follow the most work; the block waits if its parent's body is missing.

        Raises InvalidError, DecodeError.
        """
        entry = self._add_header(header, now)
        if self.has_block(entry.id):
            return
        if entry.header.previous not in self._blocks:
            self._universe.block_of(raw)  # a mutated body is not stored, as in the ledger
            self._unlinked.setdefault(entry.header.previous, {})[entry.id] = raw
            return
        self._connect(raw, entry)
        connected = [entry.id]
        while connected:
            for child_id, body in self._unlinked.pop(connected.pop(), {}).items():
                with suppress(InvalidError, DecodeError):  # its sender may have left long ago
                    self._connect(body, self._headers[child_id])
                    connected.append(child_id)

    def _connect(self, raw: bytes, entry: BlockTreeEntry) -> None:
        try:
            self._blocks[entry.id] = self._universe.judge(raw)
        except InvalidError as error:
            if not error.reason.is_mutation:
                self._invalid[entry.id] = None
                self._forget_best()
            raise
        if entry.chain_work > self.tip.chain_work:
            self.tip = entry

    def adopt(self, other: "LightChain") -> None:
        """Copy another node's blocks."""
        self._headers, self._blocks = dict(other._headers), dict(other._blocks)
        self.tip, self.best_header = other.tip, other.best_header

    def read_headers(self, locator: Sequence[Hash32], stop: Hash32, limit: int) -> list[Header]:
        """Return headers of the best chain after the first id of `locator` on it."""
        start = 0
        for block_id in locator:
            entry = self._headers.get(block_id)
            if entry is not None and entry.is_ancestor_of(self.tip):
                start = entry.height
                break
        headers = []
        for height in range(start + 1, min(start + limit, self.tip.height) + 1):
            headers.append(self.tip.ancestor(height).header)
            if headers[-1].id == stop:
                break
        return headers

    def _add_header(self, header: Header, now: int) -> BlockTreeEntry:
        if header.id in self._invalid:
            raise InvalidError(Reason.KNOWN_INVALID)
        known = self._headers.get(header.id)
        if known is not None:
            return known
        parent = self._headers.get(header.previous)
        if parent is None:
            raise InvalidError(Reason.PARENT_MISSING)
        if self._is_invalid(parent):
            raise InvalidError(Reason.PARENT_INVALID)
        entry = self._universe.entry(header, parent)
        if header.time > now + self._universe.params.header_ahead_s_max:
            raise InvalidError(Reason.TIME_TOO_NEW)
        self._headers[entry.id] = entry
        if entry.chain_work > self.best_header.chain_work:
            self.best_header = entry
        return entry

    def _is_invalid(self, entry: BlockTreeEntry) -> bool:
        return any(self._headers[bad].is_ancestor_of(entry) for bad in self._invalid)

    def _forget_best(self) -> None:
        """Find the best header again after a block turned out to be invalid."""
        valid = [entry for entry in self._headers.values() if not self._is_invalid(entry)]
        self.best_header = max(valid, key=lambda entry: entry.chain_work)


class LightPool:
    """Transactions whose coins exist and that do not conflict; no policy, no limits."""

    def __init__(self) -> None:
        self._by_txid: dict[Hash32, PoolEntry] = {}
        self._by_wtxid: dict[Hash32, PoolEntry] = {}
        self._spent: dict[OutPoint, Hash32] = {}

    def by_wtxid(self, wtxid: Hash32, /) -> PoolEntry | None:
        """Return the transaction with this witness id."""
        return self._by_wtxid.get(wtxid)

    def by_txid(self, txid: Hash32, /) -> PoolEntry | None:
        """Return the transaction with this id."""
        return self._by_txid.get(txid)

    def wtxids(self) -> list[Hash32]:
        """Return the witness ids, parents before children."""
        return list(self._by_wtxid)

    def entries(self) -> list[PoolEntry]:
        """Return all entries, parents before children."""
        return list(self._by_txid.values())

    def spends(self, point: OutPoint) -> bool:
        """Return whether a transaction here spends a coin."""
        return point in self._spent

    def add(self, entry: PoolEntry) -> None:
        """Add a transaction."""
        self._by_txid[entry.txid] = self._by_wtxid[entry.wtxid] = entry
        for txin in entry.transaction.inputs:
            self._spent[txin.outpoint] = entry.txid


class LightNode:
    """The light backend."""

    def __init__(self, universe: Universe, number: int = 0) -> None:
        self._universe = universe
        self._number = number
        self._params = universe.params
        self._chain = LightChain(universe)
        self._pool = LightPool()

    @property
    def chain(self) -> LightChain:
        return self._chain

    @property
    def pool(self) -> "LightNode":
        """The mempool, for the gossip core: this object, as the pool is replaced at each tip."""
        return self

    @property
    def tip(self) -> BlockTreeEntry:
        return self._chain.tip

    def by_wtxid(self, wtxid: Hash32, /) -> PoolEntry | None:
        return self._pool.by_wtxid(wtxid) or self._shared().by_wtxid.get(wtxid)

    def by_txid(self, txid: Hash32, /) -> PoolEntry | None:
        return self._pool.by_txid(txid) or self._shared().by_txid.get(txid)

    def wtxids(self) -> list[Hash32]:
        """Return the ids of this node's own pool, parents before children.

        Shared transactions are in all pools already, so they need no announcement.
        """
        return self._pool.wtxids()

    def feerate_min(self, now: int, /) -> int:  # noqa: ARG002 - as the core asks
        """Return 0: the pool accepts all."""
        return 0

    def transactions(self) -> tuple[Transaction, ...]:
        """Return all transactions in the pool; nodes without own ones share one tuple."""
        shared = self._shared().transactions
        own = tuple(entry.transaction for entry in self._pool.entries())
        return own + shared if own else shared

    def _shared(self) -> SharedPool:
        return self._universe.pool(self.tip.id, self._number)

    def handle(self, request: LedgerRequest, now: int) -> LedgerReply:
        match request:
            case ValidateHeaders():
                last, added, error = self._chain.add_headers(request.headers, now)
                last_id = None if last is None else last.id
                return HeadersVerdict(request.token, last_id, added, error)
            case ValidateBlocks():
                return self._block_verdicts(request, now)
            case ValidateTx():
                return self._tx_verdict(request, now)
            case ReadBlocks():
                return BlocksRead(request.token, self._read_blocks(request))
            case ReadHeaders():
                arguments = (request.locator, request.stop, request.limit)
                return HeadersRead(request.token, tuple(self._chain.read_headers(*arguments)))

    def mine(self, script: bytes, extranonce: int, now: int) -> Block:
        time = template_time(self.tip, now, self._params)
        entries = (*self._pool.entries(), *self._universe.whole_pool(self.tip.id).entries)
        block = solved(Template(self._params, self.tip, script, entries, time), extranonce, time)
        self._add_block(block.raw, block.header, now)
        return block

    def submit(self, transaction: Transaction, now: int) -> bool:
        try:
            self._accept(transaction, now)
        except InvalidError:
            return False
        return True

    def adopt(self, other: "LightNode") -> None:
        """Copy another node's blocks, as if received long ago."""
        self._chain.adopt(other._chain)

    def restart(self) -> None:
        """Drop the pool; blocks and headers count as stored on disk."""
        self._pool = LightPool()

    def close(self) -> None:
        """Do nothing: there are no resources."""

    def _read_blocks(self, request: ReadBlocks) -> tuple[bytes | None, ...]:
        """Return the first of the blocks, as the ledger does."""
        raws: list[bytes | None] = []
        size = 0
        for block in map(self._chain.block, request.block_ids):
            size += 0 if block is None else len(block.raw)
            if raws and size > request.bytes_max:
                break
            raws.append(None if block is None else block.raw)
        return tuple(raws)

    def _block_verdicts(self, request: ValidateBlocks, now: int) -> BlockVerdicts:
        errors = tuple(self._refusal(block, now) for block in request.blocks)
        return BlockVerdicts((BlockVerdict(request.token, errors),))

    def _refusal(self, block: BlockMessage, now: int) -> InvalidError | DecodeError | None:
        try:
            self._add_block(block.raw, block.header, now)
        except (InvalidError, DecodeError) as refused:
            return refused
        return None

    def _add_block(self, raw: bytes, header: Header, now: int) -> None:
        before = self.tip
        self._chain.add_block(raw, header, now)
        if self.tip != before:
            self._rebuild_pool(before, now)

    def _rebuild_pool(self, before: BlockTreeEntry, now: int) -> None:
        """Rebuild the pool of still valid transactions: disconnected ones, then the old pool."""
        fork = fork_point(before, self.tip)
        returned: list[Transaction] = []
        at = before
        while at != fork:
            block = self._chain.block(at.id)
            assert block is not None, "a best chain has its blocks"
            returned = [*block.transactions[1:], *returned]
            assert at.parent is not None, "genesis is never left"
            at = at.parent
        previous = [entry.transaction for entry in self._pool.entries()]
        self._pool = LightPool()
        for transaction in returned + previous:
            self.submit(transaction, now)

    def _tx_verdict(self, request: ValidateTx, now: int) -> TxVerdict:
        transaction = request.transaction
        if self._pool.by_txid(transaction.txid) is not None:
            return TxVerdict(request.token, TxOutcome.KNOWN, "txn-already-in-mempool")
        try:
            self._accept(transaction, now)
        except InvalidError as error:
            if error.reason is not Reason.COIN_MISSING:
                return TxVerdict(request.token, TxOutcome.INVALID, str(error))
            missing = tuple(
                outpoint_txid(txin.outpoint)
                for txin in transaction.inputs
                if self._coin(txin.outpoint) is None
            )
            return TxVerdict(request.token, TxOutcome.MISSING, str(error), missing)
        return TxVerdict(request.token, TxOutcome.ACCEPTED, "")

    def _accept(self, transaction: Transaction, now: int) -> None:
        check_transaction(transaction, self._params)
        found = [
            None if self._pool.spends(txin.outpoint) else self._coin(txin.outpoint)
            for txin in transaction.inputs
        ]
        fee = check_inputs(transaction, found, self.tip.height + 1, self._params)
        coins = tuple(coin for coin in found if coin is not None)
        self._pool.add(PoolEntry(transaction, coins, fee, time=now, height=self.tip.height))

    def _coin(self, point: OutPoint) -> Coin | None:
        """Return a coin of the best chain or the pool, spent in the pool or not."""
        parent = self._pool.by_txid(outpoint_txid(point))
        index = int.from_bytes(point[32:], "little")
        if parent is not None and index < len(parent.transaction.outputs):
            out = parent.transaction.outputs[index]
            return Coin(out.value, out.script, self.tip.height, from_coinbase=False)
        return self._universe.coins(self.tip.id).get(point)
