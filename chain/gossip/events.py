"""Events that the driver reports: the only input of the gossip core.

The driver (service or simulator) calls `Gossip.handle(event, now)` for each event, one at a time,
and then carries out the returned actions (actions.py) in order. It also keeps ONE timer, for
`Gossip.next_deadline()`, and passes `Tick()` when it is due.

A *link* is one dialled connection; frames flow both ways, whichever side dialled. The driver gives
it a number that is never reused. Events on a link that the core has closed, or that was never
opened, are allowed and ignored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

from chain.consensus.errors import InvalidError
from chain.gossip.seeds import DnsSeed
from chain.gossip.wire.address import Address
from chain.gossip.wire.hello import Hello, HelloReply
from chain.gossip.wire.messages import Message, Request
from chain.primitives.block import Block, Header
from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import Hash32
from chain.primitives.transaction import Transaction

LinkId = NewType("LinkId", int)  # assigned by the driver, never reused
DialId = NewType("DialId", int)  # assigned by the core in Dial and Feeler
Token = NewType("Token", int)  # connects a request of the core to its reply


@dataclass(frozen=True, slots=True)
class Now:
    """The two clocks: monotonic microseconds, and the system's unix seconds."""

    mono_us: int
    unix_s: int


class DialFailure(StrEnum):
    """Why a dial failed, with the HTTP status for it where there is one."""

    UNREACHABLE = "unreachable"  # no connection, timeout, not a groat node, malformed response
    BUSY = "busy"  # 429, 503
    WRONG_NETWORK = "wrong network"  # 421, or the hello of another network
    VERSION = "version"  # 426
    FORBIDDEN = "forbidden"  # 403
    SELF = "self"  # 409


# links


@dataclass(frozen=True, slots=True)
class Dialled:
    """`Dial` opened a link: the acceptor replied 201 and its down stream is open."""

    dial: DialId
    link: LinkId
    reply: HelloReply


@dataclass(frozen=True, slots=True)
class DialFailed:
    """`Dial` or `Feeler` failed; `retry_after_s` is the delay the other side asked for, or 0."""

    dial: DialId
    why: DialFailure
    retry_after_s: int = 0


@dataclass(frozen=True, slots=True)
class FeelerSucceeded:
    """`Feeler` found a node; `hello` is the reply to `GET /hello`."""

    dial: DialId
    hello: Hello


@dataclass(frozen=True, slots=True)
class SeedResolved:
    """The reply to `ResolveSeed`: the addresses, each with the seed's port; () if it failed."""

    seed: DnsSeed
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Accepted:
    """An incoming `POST /links` from `remote`; answered by `Admit` or `Refuse`."""

    link: LinkId
    remote: Address
    hello: Hello


@dataclass(frozen=True, slots=True)
class Closed:
    """A link closed, other than by our own `Close`."""

    link: LinkId
    why: str


@dataclass(frozen=True, slots=True)
class Frames:
    """Messages received over a link: from its stream, or in the response to our HTTP request."""

    link: LinkId
    messages: tuple[Message, ...]
    size: int  # bytes on the wire, skipped frames included


@dataclass(frozen=True, slots=True)
class BadFrame:
    """A link sent malformed frames or HTTP: the peer's fault."""

    link: LinkId
    why: str


@dataclass(frozen=True, slots=True)
class Requested:
    """The dialler of `link` sent an HTTP request; answered by one or more `Reply` with `token`.

    `token` is the driver's and never reused.
    """

    link: LinkId
    token: Token
    message: Request
    size: int


@dataclass(frozen=True, slots=True)
class RequestAbandoned:
    """The HTTP request of a `Requested` ended before its last `Reply`: the rest is unwanted."""

    link: LinkId
    token: Token


@dataclass(frozen=True, slots=True)
class RequestFinished:
    """The HTTP request that carried `message` (is_request) on a link we dialled has ended.

    `message` is the same object as in `Send`. The messages of the response came before, as
    `Frames`. `failed`: not 200, cut short, or over its deadline.
    """

    link: LinkId
    message: Request
    failed: bool


@dataclass(frozen=True, slots=True)
class WriteProgress:
    """The size of a link's send queue; reported when it changed by 64 KiB or fell to 0."""

    link: LinkId
    queued_bytes: int
    written_bytes: int = 0  # since the link opened


# replies of the ledger and the mempool


@dataclass(frozen=True, slots=True)
class HeadersVerdict:
    """The reply to `ValidateHeaders`; the ChainView already shows what was added."""

    token: Token
    last: Hash32 | None  # last header accepted or already known
    added: int
    error: InvalidError | None  # why the next header was refused


@dataclass(frozen=True, slots=True)
class BlockVerdict:
    """The verdict on the blocks of one `ValidateBlocks`: for each what is wrong with it, in order.

    None: the block was connected, only stored, or known before.
    """

    token: Token
    errors: tuple[InvalidError | DecodeError | None, ...]


@dataclass(frozen=True, slots=True)
class BlockVerdicts:
    """The replies to one `ValidateBlocks` or more, in their order.

    The ChainView already shows the blocks and a new tip.
    """

    verdicts: tuple[BlockVerdict, ...]


class TxOutcome(StrEnum):
    """The mempool's decision on a transaction."""

    ACCEPTED = "accepted"
    KNOWN = "known"  # in the pool already, or confirmed
    MISSING = "missing"  # spends unknown coins (COIN_MISSING), so it may be an orphan
    REFUSED = "refused"  # by policy, or temporarily
    INVALID = "invalid"  # breaks a consensus rule on any chain


@dataclass(frozen=True, slots=True)
class TxVerdict:
    """The reply to `ValidateTx`; the PoolView already shows an accepted one."""

    token: Token
    outcome: TxOutcome
    reason: str  # Bitcoin's reject reason; empty if accepted
    missing: tuple[Hash32, ...] = ()  # for MISSING: txids of the unknown coins, in input order
    failed_input: int | None = None  # its scripts failed, and were run once more for the outcome


@dataclass(frozen=True, slots=True)
class BlocksRead:
    """The reply to `ReadBlocks`: the first of the blocks, in order; None: it is not stored."""

    token: Token
    raws: tuple[bytes | None, ...]


@dataclass(frozen=True, slots=True)
class HeadersRead:
    """The reply to `ReadHeaders`: at most 2000 headers, oldest first; may be empty."""

    token: Token
    headers: Sequence[Header]


# events of the node itself


@dataclass(frozen=True, slots=True)
class LocalBlock:
    """A block not from a peer (miner, RPC, import) is in the ledger."""

    block: Block


@dataclass(frozen=True, slots=True)
class LocalTx:
    """A transaction not from a peer (wallet, RPC, reorganisation) is in the pool."""

    transaction: Transaction


@dataclass(frozen=True, slots=True)
class Discovered:
    """Addresses from the local network, to be dialled soon."""

    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class ManualAdded:
    """Keep a link to this peer from now on, regardless of the dialling policy."""

    address: Address


@dataclass(frozen=True, slots=True)
class ManualRemoved:
    """Stop keeping a link to this peer."""

    address: Address


@dataclass(frozen=True, slots=True)
class ManualTryRequested:
    """Dial this peer once, now; the link is not kept when it ends."""

    address: Address


@dataclass(frozen=True, slots=True)
class BansChanged:
    """The user changed the bans, which the core reads; links may have to close."""


@dataclass(frozen=True, slots=True)
class NetworkActivity:
    """The user switched networking on or off; while off, no links are dialled or accepted."""

    is_active: bool


@dataclass(frozen=True, slots=True)
class PingWanted:
    """Ping every link now."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Only time passed. The first one starts the node."""


DialEvent = Dialled | DialFailed | FeelerSucceeded | SeedResolved | Accepted
LinkEvent = (
    Closed | Frames | BadFrame | Requested | RequestAbandoned | RequestFinished | WriteProgress
)
LedgerReplyEvent = HeadersVerdict | BlockVerdicts | TxVerdict | BlocksRead | HeadersRead
OwnerEvent = (
    Discovered | ManualAdded | ManualRemoved | ManualTryRequested | BansChanged | NetworkActivity
)
NodeEvent = LocalBlock | LocalTx | PingWanted | Tick
LinklessEvent = DialEvent | LedgerReplyEvent | OwnerEvent | NodeEvent  # of no link that is open
Event = LinkEvent | LinklessEvent
