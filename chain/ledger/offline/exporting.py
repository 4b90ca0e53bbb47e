"""Export of the best chain to a block file, even while a node is running."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Final

from chain.consensus.params import Params
from chain.ledger.db.snapshot import LedgerSnapshot
from chain.ledger.errors import DamagedError
from chain.ledger.offline.blockfile import write_frame
from chain.ledger.reader import Reader
from chain.primitives.numbers import Hash32, Height, id_text

_SNAPSHOT_BYTES: Final = 16_000_000  # blocks per snapshot, so that no read transaction lasts long


@dataclass(frozen=True, slots=True)
class ExportResult:
    """The result of an export."""

    blocks: int
    size: int  # bytes
    tip: Hash32
    height: Height


def export_blocks(
    reader: Reader,
    params: Params,
    stream: BinaryIO,
    progress: Callable[[Height], None] | None = None,
) -> ExportResult:
    """Write the best chain without genesis, oldest block first.

    If the node reorganises meanwhile, the new branch follows the blocks already written: an import
    of the file arrives at the same tip.
    """
    written: list[Hash32] = []  # index: height - 1
    blocks = size = 0
    while True:
        with reader.snapshot() as snapshot:
            while written and snapshot.block_id(len(written)) != written[-1]:
                written.pop()
            room = _SNAPSHOT_BYTES
            while len(written) < snapshot.tip_height and room > 0:
                block_id, raw = _block_at(snapshot, len(written) + 1)
                room -= write_frame(stream, raw, params)
                written.append(block_id)
                blocks += 1
            size += _SNAPSHOT_BYTES - room
            height = Height(len(written))
            if height == snapshot.tip_height:
                return ExportResult(blocks, size, snapshot.tip_id, height)
        if progress is not None:
            progress(height)


def _block_at(snapshot: LedgerSnapshot, height: int) -> tuple[Hash32, bytes]:
    block_id = snapshot.block_id(height)
    raw = snapshot.block(block_id) if block_id is not None else None
    if block_id is None or raw is None:
        shown = id_text(block_id) if block_id is not None else "?"
        raise DamagedError(f"block {shown} at height {height} is missing")
    return block_id, raw
