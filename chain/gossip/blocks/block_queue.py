"""Received blocks that are not in the ledger yet, and the ids of blocks found invalid."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain as chained
from typing import Final, Self

from chain.consensus.entry import BlockTreeEntry
from chain.consensus.errors import InvalidError
from chain.consensus.header import check_header_work
from chain.gossip.actions import ValidateBlocks
from chain.gossip.blocks.headersync import HeaderSync
from chain.gossip.context import Context, Link
from chain.gossip.dispatch import Handler, Part, on_event
from chain.gossip.events import BlockVerdicts, LinkId, LocalBlock, Token
from chain.gossip.wire.messages import BlockMessage
from chain.primitives.block import Header
from chain.primitives.compact import work_from_bits
from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import Hash32

REFUSED_MAX: Final = 100
QUEUED_BYTES_MAX: Final = 64 * 1024 * 1024
VALIDATING_MAX: Final = 8192  # in validation at the same time, each after its parent
VALIDATING_BYTES_MAX: Final = 16 * 1024 * 1024  # in validation; one block may exceed it
RUN_BLOCKS_MAX: Final = 500  # passed on as one
RUN_BYTES_MAX: Final = 256 * 1024  # of them; one block may exceed it
EXPECTED_BYTES_START: Final = 20_000
UNREQUESTED_AHEAD_MAX: Final = 288  # how far above our tip unrequested blocks are kept
_EXPECTED_BYTES_DECAY: Final = 0.95  # of the largest recent block, for each smaller one


@dataclass(slots=True)
class _QueuedBlock:
    """A block, and the link that sent it."""

    block: Final[BlockMessage]
    previous: Final[Hash32]
    size: Final[int]  # in bytes
    link: Final[Link]
    reconstructed: Final[bool]  # by us, from a compact block: the sender did not vouch for it
    holders: Final[list[Link]] = field(default_factory=list)  # other open links that have it

    @classmethod
    def of(cls, block: BlockMessage, link: Link, *, reconstructed: bool = False) -> Self:
        """Return a block that a link sent."""
        return cls(block, block.previous, len(block.raw), link, reconstructed)


OnWrongReconstruction = Callable[[Link, Hash32], None]


# called with the blocks that were found valid together, in order, and the links that sent them
OnVerdicts = Callable[[Sequence[tuple[Link, BlockMessage]]], None]


class BlockQueue(Part):
    """Passes blocks to the ledger parents first, several at a time, so that it is never idle.

    A block is passed on once its parent is stored or was passed on. If the parent is then refused,
    the ledger refuses the child too, or keeps it until another body of the parent arrives.
    """

    def __init__(self, context: Context, headers: HeaderSync) -> None:
        self._context = context
        self._headers = headers
        # called with a block that we reconstructed wrongly and that must be requested whole
        self.on_wrong_reconstruction: list[OnWrongReconstruction] = []
        self.on_verdicts: list[OnVerdicts] = []  # called last, also if no block was valid
        self._queued: dict[Hash32, _QueuedBlock] = {}
        self._children: dict[Hash32, list[Hash32]] = {}  # children in `_queued`, by parent
        self._stalled: dict[Hash32, None] = {}  # parents of blocks that wait only for room
        self._reserved: dict[Hash32, None] = {}  # being reconstructed from compact blocks
        self._validating: dict[Token, tuple[_QueuedBlock, ...]] = {}
        self._validating_ids: dict[Hash32, None] = {}  # ids in `_validating`, parents first
        self._refused: dict[Hash32, None] = {}  # ids that are invalid with any body
        self._expected_bytes = float(EXPECTED_BYTES_START)
        self._validating_bytes = 0
        self._queued_bytes = 0
        self.losses = 0  # of blocks that left it without being stored: they may be missing again

    def handlers(self) -> tuple[Handler, ...]:
        """Handle the ledger's verdicts, and blocks that reached it by another way."""
        return (on_event(BlockVerdicts, self.verdicts), on_event(LocalBlock, self.local_block))

    def closed(self, link: Link) -> None:
        """Forget which blocks a link has; those that it sent stay."""
        for queued in (*self._queued.values(), *chained.from_iterable(self._validating.values())):
            if link in queued.holders:
                queued.holders.remove(link)

    @property
    def expected_block_bytes(self) -> int:
        """Expected size of the next block in bytes: that of the largest recent one."""
        return max(int(self._expected_bytes), 1)

    def __len__(self) -> int:
        """Return how many blocks are in the queue or in validation."""
        return len(self._queued) + len(self._validating_ids)

    @property
    def size(self) -> int:
        """Size in bytes of all blocks in the queue or in validation."""
        return self._queued_bytes + self._validating_bytes

    def has(self, block_id: Hash32) -> bool:
        """Return whether a block is queued, in validation, stored or being reconstructed."""
        return self.has_body(block_id) or block_id in self._reserved

    def has_body(self, block_id: Hash32) -> bool:
        """Return whether we have a block's body: queued, in validation or stored."""
        return self._is_queued(block_id) or self._context.chain.has_block(block_id)

    def _is_queued(self, block_id: Hash32) -> bool:
        return block_id in self._queued or block_id in self._validating_ids

    def missing(self, entries: Iterable[BlockTreeEntry]) -> Iterator[BlockTreeEntry]:
        """Yield those of which `has` is false; thousands are asked about at a time."""
        queued, validating, reserved = self._queued, self._validating_ids, self._reserved
        has_data = self._context.chain.has_data
        for entry in entries:
            block_id = entry.id
            is_coming = block_id in queued or block_id in validating or block_id in reserved
            if not is_coming and not has_data(entry):
                yield entry

    def can_validate_children(self, parent_id: Hash32) -> bool:
        """Return whether children may be passed on: the block is stored or passed on."""
        return parent_id in self._validating_ids or self._context.chain.has_block(parent_id)

    def reserve(self, block_id: Hash32) -> None:
        """Record that a block is being reconstructed, so that it is not requested elsewhere."""
        self._reserved[block_id] = None

    def release(self, block_id: Hash32) -> None:
        """Record that a block is not being reconstructed any more."""
        self._reserved.pop(block_id, None)
        self.losses += 1

    def add_holder(self, block_id: Hash32, link: Link) -> None:
        """Record that another link has a block that is in the queue or stored."""
        entry = self._context.chain.get(block_id)
        if entry is not None:
            link.update_best_known(entry)
            return
        here = (*chained.from_iterable(self._validating.values()), self._queued.get(block_id))
        for queued in here:
            if queued is None or queued.block.block_id != block_id:
                continue
            if link is not queued.link and link not in queued.holders:
                queued.holders.append(link)

    def is_refused(self, entry: BlockTreeEntry) -> bool:
        """Return whether a header belongs to, or builds on, a block that was found invalid."""
        chain = self._context.chain
        for block_id in self._refused:
            refused = chain.get(block_id)
            if block_id == entry.id or (refused is not None and refused.is_ancestor_of(entry)):
                return True
        return False

    def add(self, block: BlockMessage, link: Link, *, reconstructed: bool = False) -> None:
        """Add a block whose parent's header is known; if we have its body, add only the holder.

        Whether it is stored is not looked up if its parent is here, as in a first sync: it could
        only have come out of order by another way, and then the ledger knows it.
        """
        queued = _QueuedBlock.of(block, link, reconstructed=reconstructed)
        is_here = self._is_queued if self._is_queued(queued.previous) else self.has_body
        if is_here(block.block_id):
            self.add_holder(block.block_id, link)
            return
        self._expect(queued)
        previous = queued.previous
        can_validate = previous not in self._queued and self.can_validate_children(previous)
        if can_validate and previous not in self._children and self._has_room():
            self._validate((queued,))
            self._advance(block.block_id)
            return
        self._enqueue(queued)
        if can_validate:
            self._advance(previous)

    def add_all(self, blocks: Sequence[BlockMessage], link: Link) -> None:
        """Add blocks as `add` does one after the other; a run as in a first sync all at once."""
        if not self._is_next_run(blocks):
            for block in blocks:
                self.add(block, link)
            return
        run = tuple(_QueuedBlock.of(block, link) for block in blocks)
        for queued in run:
            self._expect(queued)
        self._validate(run)
        self._advance(run[-1].block.block_id)

    def _is_next_run(self, blocks: Sequence[BlockMessage]) -> bool:
        """Return whether each block is the parent of the next, and all can be passed on now.

        None of them is here yet, and nothing else waits for their parents or for room.
        """
        ids = [block.block_id for block in blocks]
        first, *others = (block.previous for block in blocks)
        size = sum(len(block.raw) for block in blocks)
        return (
            others == ids[:-1]
            and first in self._validating_ids
            and self._children.keys().isdisjoint((first, *others))
            and self._queued.keys().isdisjoint(ids)
            and self._validating_ids.keys().isdisjoint(ids)
            and len(self._validating_ids) + len(ids) <= VALIDATING_MAX
            and self._validating_bytes + size <= VALIDATING_BYTES_MAX
        )

    def block_stored(self, block_id: Hash32) -> None:
        """Continue with the descendants of a block that was stored."""
        self._advance(block_id)

    def local_block(self, event: LocalBlock) -> None:
        """Continue with the descendants of a block that no peer sent."""
        self.block_stored(event.block.id)

    def is_worth_validating(self, header: Header) -> bool:
        """Return whether an unrequested block, whose parent is known, is worth validating.

        It must have proof of work, and more chain work than our tip: old forks of easy blocks must
        cost us neither disk space nor time.
        """
        chain = self._context.chain
        parent = chain.get(header.previous)
        if parent is None or header.id in self._refused or self.is_refused(parent):
            return False
        try:
            check_header_work(header, self._context.config.params)
        except InvalidError:
            return False
        enough = parent.chain_work + work_from_bits(header.bits) > chain.tip.chain_work
        return enough and parent.height < chain.tip.height + UNREQUESTED_AHEAD_MAX

    def verdicts(self, event: BlockVerdicts) -> None:
        """Handle the ledger's verdicts, and continue with the blocks' children."""
        judged: list[tuple[_QueuedBlock, InvalidError | DecodeError | None]] = []
        for verdict in event.verdicts:
            run = self._validating.pop(verdict.token, ())
            for queued in run:
                del self._validating_ids[queued.block.block_id]
                self._validating_bytes -= queued.size
            judged += zip(run, verdict.errors, strict=False)  # none, if the run is not ours
            self.losses += max(len(run) - len(verdict.errors), 0)
        accepted = [queued for queued, error in judged if error is None]
        self.losses += len(judged) - len(accepted)
        self._credit_senders(accepted)
        for queued, error in judged:
            if error is None:
                self._advance(queued.block.block_id)
            else:
                self._punish(queued, error)
                if queued.link.id in self._context.links:
                    self._headers.pause(queued.link)  # it may be valid later: no punishment
        self._advance_stalled()
        for callback in self.on_verdicts:
            callback([(queued.link, queued.block) for queued in accepted])

    def _advance_stalled(self) -> None:
        """Pass on the blocks that waited only for room, while there is some."""
        for parent_id in list(self._stalled):
            if self._has_room():
                del self._stalled[parent_id]
                if self.can_validate_children(parent_id):
                    self._advance(parent_id)

    def _has_room(self) -> bool:
        """Return whether one more block may be passed to the ledger."""
        return (
            len(self._validating_ids) < VALIDATING_MAX
            and self._validating_bytes < VALIDATING_BYTES_MAX
        )

    def _advance(self, block_id: Hash32) -> None:
        """Pass on the blocks that waited for a block, parents first, while there is room."""
        if block_id not in self._children:
            return
        run: list[_QueuedBlock] = []
        parents, size = [block_id], 0
        while parents:
            parent_id = parents.pop()
            while children := self._children.get(parent_id):
                if not self._has_room():
                    self._stalled[parent_id] = None
                    break
                queued = self._dequeue(children[0])
                size += queued.size
                is_next = bool(run) and queued.previous == run[-1].block.block_id
                if run and not (is_next and len(run) < RUN_BLOCKS_MAX and size < RUN_BYTES_MAX):
                    self._emit(run)
                    run, size = [], queued.size
                self._reserve_room(queued)
                run.append(queued)
                parents.append(queued.block.block_id)
        if run:
            self._emit(run)

    def _validate(self, run: Sequence[_QueuedBlock]) -> None:
        """Pass on a block, or more of which each is the parent of the next."""
        for queued in run:
            self._reserve_room(queued)
        self._emit(run)

    def _reserve_room(self, queued: _QueuedBlock) -> None:
        self._validating_ids[queued.block.block_id] = None
        self._validating_bytes += queued.size

    def _emit(self, run: Sequence[_QueuedBlock]) -> None:
        token = self._context.token()
        self._validating[token] = tuple(run)
        self._context.emit(ValidateBlocks(token, tuple(queued.block for queued in run)))

    def _expect(self, queued: _QueuedBlock) -> None:
        """Update the expected size of blocks."""
        self._expected_bytes = max(self._expected_bytes * _EXPECTED_BYTES_DECAY, queued.size)

    def _enqueue(self, queued: _QueuedBlock) -> None:
        """Queue a block until its parent is stored; if there is no room, drop the highest block."""
        block_id = queued.block.block_id
        self._queued[block_id] = queued
        self._children.setdefault(queued.previous, []).append(block_id)
        self._queued_bytes += queued.size
        while self._queued_bytes > QUEUED_BYTES_MAX:
            self._dequeue(max(self._queued, key=self._height))
            self.losses += 1

    def _height(self, block_id: Hash32) -> int:
        parent = self._context.chain.get(self._queued[block_id].previous)
        return 0 if parent is None else parent.height + 1

    def _dequeue(self, block_id: Hash32) -> _QueuedBlock:
        queued = self._queued.pop(block_id)
        self._queued_bytes -= queued.size
        siblings = self._children[queued.previous]
        siblings.remove(block_id)
        if not siblings:
            del self._children[queued.previous]
        return queued

    def _credit_senders(self, accepted: Sequence[_QueuedBlock]) -> None:
        """Record which blocks links turned out to have.

        Of blocks in a row only the last one counts, as it shows that its link has them all.
        """
        lasts: dict[tuple[LinkId, Hash32], Link] = {}
        for queued in accepted:
            queued.link.last_block_us = self._context.now.mono_us
            for link in (queued.link, *queued.holders):
                lasts.pop((link.id, queued.previous), None)
                lasts[link.id, queued.block.block_id] = link
        for (_, block_id), link in lasts.items():
            entry = self._context.chain.get(block_id)
            if entry is not None:
                link.update_best_known(entry)

    def _punish(self, queued: _QueuedBlock, error: InvalidError | DecodeError) -> None:
        """Punish the link for any error; mark the id invalid only for what it commits to."""
        context, link = self._context, queued.link
        context.trace("block refused", block=queued.block.block_id.hex(), why=str(error))
        if isinstance(error, DecodeError) or error.reason.is_mutation:
            if queued.reconstructed:  # a wrong witness of the mempool has the right one's short id
                for callback in self.on_wrong_reconstruction:
                    callback(link, queued.block.block_id)
                return
            context.misbehaved(link, f"mutated block: {error}")
            for holder in queued.holders:  # their copies were not checked
                self._headers.request(holder)
            return
        if error.reason.is_temporary:
            link.best_known = None  # or the block would be requested again at once
            return
        self._refuse(queued.block.block_id)
        if queued.reconstructed:
            return  # compact blocks are passed on before they are validated (BIP152)
        if error.reason.is_from_parent:
            context.close(link, f"block refused: {error}")
        else:
            context.misbehaved(link, f"invalid block: {error}")

    def _refuse(self, block_id: Hash32) -> None:
        """Remember that a block is invalid, and drop its queued descendants."""
        self._refused[block_id] = None
        if len(self._refused) > REFUSED_MAX:
            del self._refused[next(iter(self._refused))]
        descendants = [block_id]
        while descendants:
            for child_id in list(self._children.get(descendants.pop(), [])):
                self._dequeue(child_id)
                self.losses += 1
                descendants.append(child_id)
