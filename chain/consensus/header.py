"""Rules for headers."""

from chain.consensus.entry import BlockTreeEntry
from chain.consensus.errors import InvalidError, Reason
from chain.consensus.params import Params
from chain.consensus.work import meets_target, next_bits
from chain.primitives.block import Header

VERSION_MIN = 4  # BIP34, BIP66 and BIP65 are active from block 1


def check_header_work(header: Header, params: Params) -> None:
    """Raise InvalidError PROOF_OF_WORK unless the header meets the target of its own bits."""
    if not meets_target(header.id, header.bits, params):
        raise InvalidError(Reason.PROOF_OF_WORK, f"bits {header.bits:08x}")


def check_header_context(header: Header, parent: BlockTreeEntry, now: int, params: Params) -> None:
    """Check a header as a child of `parent`, at clock time `now` (unix seconds).

    Raises InvalidError: BITS, TIME_TOO_OLD, TIME_TOO_NEW (temporary: do not mark it invalid),
    VERSION. Bitcoin: ContextualCheckBlockHeader.
    """
    bits = next_bits(parent.height, parent.header.time, parent.anchor_time, params)
    if header.bits != bits:
        raise InvalidError(Reason.BITS, f"{header.bits:08x} instead of {bits:08x}")
    if header.time <= parent.median_time_past:
        raise InvalidError(Reason.TIME_TOO_OLD, f"{header.time} <= {parent.median_time_past}")
    if header.time > now + params.header_ahead_s_max:
        raise InvalidError(Reason.TIME_TOO_NEW, f"{header.time - now} s ahead")
    if header.version < VERSION_MIN:
        raise InvalidError(Reason.VERSION, f"0x{header.version & 0xFFFFFFFF:08x}")
