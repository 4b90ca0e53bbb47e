"""One block on its way to both sides, and how much of the answers must agree."""

from dataclasses import dataclass
from enum import Enum, auto

from chain.primitives.block import Block, Header

ANY = "any"  # Core's answer is not known beforehand


class Compare(Enum):
    """What must be equal in the two answers. Accepted and tip always are, except for ONE_WAY."""

    EXACT = auto()
    ONE_WAY = auto()  # outside groat's scope: it may refuse what Core takes, never the reverse
    HEADER = auto()  # only a header is offered


@dataclass(frozen=True, slots=True)
class Offer:
    """A block to offer, and what Core is known to say, so that no mutation tests nothing."""

    raw: bytes
    expected: str | None  # the reason; None: it is taken; ANY
    compare: Compare = Compare.EXACT


def good(block: Block) -> Offer:
    return Offer(block.raw, None)


def bad(block: Block, reason: str) -> Offer:
    return Offer(block.raw, reason)


def unknown(block: Block | bytes) -> Offer:
    return Offer(block if isinstance(block, bytes) else block.raw, ANY)


def undecodable(raw: bytes) -> Offer:
    return Offer(raw, "")


def header_only(header: Header) -> Offer:
    return Offer(header.encode(), ANY, Compare.HEADER)


def script_error(text: str) -> str:
    """Return Core's reason for a spend that fails with `text` (ScriptErrorString)."""
    return f"block-script-verify-flag-failed ({text})"


FALSE_ON_TOP = script_error(
    "Script evaluated without error but finished with a false/empty top stack element"
)
NOT_DER = script_error("Non-canonical DER signature")
KEY_HASH = script_error("Script failed an OP_EQUALVERIFY operation")
MISMATCH = script_error("Witness program hash mismatch")
PUSH_SIZE = script_error("Push value size limit exceeded")
SCRIPT_SIG = script_error("Witness requires empty scriptSig")
