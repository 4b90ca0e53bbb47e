"""What happens to a node, as its driver tells it: the only way into the gossip core.

The driver (service or simulator) calls `Gossip.handle(event, now)` for each, one at a time, and
then carries out the actions (actions.py) that come back, in order. It also keeps ONE timer, for
`Gossip.next_deadline()`, and hands in `Tick()` when it is due.

A *link* is one dialled relation: frames flow both ways whoever dialled. The driver names it by a
number that it never uses twice. Whatever happens to a link that the core has closed, or that was
never opened, may be told and is ignored.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

from chain.consensus.errors import InvalidError
from chain.gossip.wire.address import Address
from chain.gossip.wire.hello import Hello, HelloReply
from chain.gossip.wire.messages import Message, Request
from chain.primitives.block import Block, Header
from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import Hash32
from chain.primitives.transaction import Transaction

LinkId = NewType("LinkId", int)  # given by the driver, never twice
DialId = NewType("DialId", int)  # given by the core in Dial and Probe
Token = NewType("Token", int)  # joins a question of the core to its answer


@dataclass(frozen=True, slots=True)
class Now:
    """The two clocks: microseconds that never go back, and the system's unix seconds."""

    mono_us: int
    unix_s: int


class DialFailure(StrEnum):
    """Why there is no link; the HTTP status that means it, where one does."""

    UNREACHABLE = "unreachable"  # no connection, timeout, no groat node, malformed answer
    BUSY = "busy"  # 429, 503
    WRONG_NETWORK = "wrong network"  # 421, or the hello of another network
    VERSION = "version"  # 426
    FORBIDDEN = "forbidden"  # 403
    SELF = "self"  # 409


# links


@dataclass(frozen=True, slots=True)
class Dialled:
    """`Dial` led to a link: the acceptor answered 201 and its down stream is open."""

    dial: DialId
    link: LinkId
    reply: HelloReply


@dataclass(frozen=True, slots=True)
class DialFailed:
    """`Dial` or `Probe` led to nothing; `retry_after_s` is what the other side asked for, or 0."""

    dial: DialId
    why: DialFailure
    retry_after_s: int = 0


@dataclass(frozen=True, slots=True)
class FeelerSucceeded:
    """`Probe` found a node: the answer to `GET /hello`."""

    dial: DialId
    hello: Hello


@dataclass(frozen=True, slots=True)
class Accepted:
    """Someone dialled us: a `POST /links` from `remote`; answered by `Admit` or `Refuse`."""

    link: LinkId
    remote: Address
    hello: Hello


@dataclass(frozen=True, slots=True)
class Closed:
    """A link ended, and not because of a `Close` of ours."""

    link: LinkId
    why: str


@dataclass(frozen=True, slots=True)
class Frames:
    """Messages came over a link: by its stream, or in the answer to a request of ours."""

    link: LinkId
    messages: tuple[Message, ...]
    size: int  # bytes on the wire, skipped frames included


@dataclass(frozen=True, slots=True)
class BadFrame:
    """A link sent bytes that are no frames, or no HTTP as agreed: the peer's fault."""

    link: LinkId
    why: str


@dataclass(frozen=True, slots=True)
class Requested:
    """The dialler of `link` asks by an HTTP request; answered by one or more `Reply` of `token`.

    `token` is the driver's, never used twice; if the request ends first, nothing need be told.
    """

    link: LinkId
    token: Token
    message: Request
    size: int


@dataclass(frozen=True, slots=True)
class RequestFinished:
    """The HTTP request that carried `message` (is_request) on a link we dialled has ended.

    `message` is the very object that `Send` had. The answer's messages were told before, by
    `Frames`. `failed`: not 200, cut short, or over its deadline.
    """

    link: LinkId
    message: Request
    failed: bool


@dataclass(frozen=True, slots=True)
class WriteProgress:
    """Bytes that wait to be written to a link: told when it grew or shrank by 64 KiB or to 0."""

    link: LinkId
    queued_bytes: int
    written_bytes: int = 0  # since the link opened


# the ledger's and the mempool's answers


@dataclass(frozen=True, slots=True)
class HeadersVerdict:
    """The answer to `ValidateHeaders`; the ChainView already shows what was added."""

    token: Token
    last: Hash32 | None  # the last header accepted or already known
    added: int
    error: InvalidError | None  # why the next one was refused


@dataclass(frozen=True, slots=True)
class BlockVerdict:
    """The answer to `ValidateBlock`; the ChainView already shows the block and a new tip.

    `error` None: accepted, connected or only stored, or known before.
    """

    token: Token
    error: InvalidError | DecodeError | None


class TxOutcome(StrEnum):
    """What became of a transaction that was offered to the mempool."""

    ACCEPTED = "accepted"
    KNOWN = "known"  # in the pool already, or confirmed
    MISSING = "missing"  # spends coins that we do not know (COIN_MISSING): an orphan, perhaps
    REFUSED = "refused"  # by policy, or for now
    INVALID = "invalid"  # breaks a consensus rule, whatever the chain


@dataclass(frozen=True, slots=True)
class TxVerdict:
    """The answer to `ValidateTx`; the PoolView already shows an accepted one."""

    token: Token
    outcome: TxOutcome
    reason: str  # as Bitcoin's reject reason; empty if accepted
    missing: tuple[Hash32, ...] = ()  # for MISSING: txids of the coins not found, in input order


@dataclass(frozen=True, slots=True)
class BlockRead:
    """The answer to `ReadBlock`."""

    token: Token
    raw: bytes | None


@dataclass(frozen=True, slots=True)
class HeadersRead:
    """The answer to `ReadHeaders`: at most 2000, oldest first; empty if there is none."""

    token: Token
    headers: tuple[Header, ...]


# what comes from the node itself


@dataclass(frozen=True, slots=True)
class LocalBlock:
    """A block that did not come from a peer (miner, RPC, import) is in the ledger."""

    block: Block


@dataclass(frozen=True, slots=True)
class LocalTx:
    """A transaction that did not come from a peer (wallet, RPC, reorganisation) is in the pool."""

    transaction: Transaction


@dataclass(frozen=True, slots=True)
class Discovered:
    """Addresses from the local network, a DNS seed or the user's list: to be tried soon."""

    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class ManualAdded:
    """Keep a link to this peer from now on, whatever the policy for dialling says."""

    address: Address


@dataclass(frozen=True, slots=True)
class ManualRemoved:
    """Keep a link to this peer no more."""

    address: Address


@dataclass(frozen=True, slots=True)
class ManualTryRequested:
    """Dial this peer once, now; the link is kept for as long as it lasts by itself."""

    address: Address


@dataclass(frozen=True, slots=True)
class BansChanged:
    """The user's bans, which the core reads, are others now: links may have to end."""


@dataclass(frozen=True, slots=True)
class NetworkActivity:
    """The user wants links, or none: while inactive nobody is dialled or let in."""

    is_active: bool


@dataclass(frozen=True, slots=True)
class PingWanted:
    """Ping every link now."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Nothing but time passed. The first one starts the node."""


DialEvent = Dialled | DialFailed | FeelerSucceeded | Accepted
LinkEvent = Closed | Frames | BadFrame | Requested | RequestFinished | WriteProgress
LedgerReplyEvent = HeadersVerdict | BlockVerdict | TxVerdict | BlockRead | HeadersRead
OwnerEvent = (
    Discovered | ManualAdded | ManualRemoved | ManualTryRequested | BansChanged | NetworkActivity
)
NodeEvent = LocalBlock | LocalTx | PingWanted | Tick
Event = DialEvent | LinkEvent | LedgerReplyEvent | OwnerEvent | NodeEvent
