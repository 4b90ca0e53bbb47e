"""What the gossip core wants done; the driver does it, in order, and never answers by a return.

How messages travel, so that a driver needs nothing else:

* `Send` on a link we ACCEPTED: a frame on its down stream, whatever the message.
* `Send` on a link we DIALLED: if `is_request(message)` (getheaders, getdata of blocks only), an
  HTTP request of its own, `POST /headers` or `POST /blocks` with the one frame as body; the frames
  of the answer come back as `Frames`, and its end as `Answered`, always. Else a frame on
  `POST /up/{lane}`, lane 1 if `is_bulk(message)`, else lane 0.
* On the accepting side such a request is `Requested(link, token, message)`, answered by `Reply`s
  into the HTTP response. What came on the up stream, or down, is `Frames`.

Order is kept between messages of one `lane` only. A lane of a lower number goes first; BLOCK goes
at once, the others may wait up to 50 ms to share a request. After `Close` nothing is sent.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from chain.gossip.events import DialId, LinkId, Token
from chain.gossip.wire.address import Address
from chain.gossip.wire.hello import Hello, HelloReply
from chain.gossip.wire.messages import BlockMessage, Message
from chain.primitives.block import Header
from chain.primitives.numbers import Hash32
from chain.primitives.transaction import Transaction


class Priority(IntEnum):
    """How urgent a message is."""

    BLOCK = 0  # new blocks and their headers
    CONTROL = 1  # requests, replies, pings
    TRANSACTION = 2
    ADDRESS = 3


class ConnectionType(StrEnum):
    """What a dialled link is for."""

    OUTBOUND_FULL_RELAY = "full"
    BLOCK_RELAY = "block only"  # no transactions, no addresses: nobody can find such links
    MANUAL = "manual"


class SavedPart(StrEnum):
    """What `Save` keeps across restarts; the values are the fields of `Saved`."""

    ADDRESSES = "addresses"
    ANCHORS = "anchors"
    DISCOURAGED = "discouraged"


# links


@dataclass(frozen=True, slots=True)
class Dial:
    """Look at `address` by GET /hello, then POST /links with `hello`: `Dialled` or `DialFailed`.

    The driver checks magic, identity and version of the GET's answer (`hello` has ours) before it
    sends anything, and after connecting that the peer's IP is the one asked for.
    """

    dial: DialId
    address: Address
    hello: Hello
    connection_type: ConnectionType


@dataclass(frozen=True, slots=True)
class Feeler:
    """Only GET /hello: `Probed`, or `DialFailed`. Tells whether an address is worth keeping."""

    dial: DialId
    address: Address


@dataclass(frozen=True, slots=True)
class Admit:
    """Answer an `Accepted` with 201 and this; frames may follow at once and wait for the stream."""

    link: LinkId
    reply: HelloReply


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer an `Accepted` with this HTTP status: 403, 409, 421, 426, 429 or 503."""

    link: LinkId
    status: int
    retry_after_s: int  # Retry-After, if not 0


@dataclass(frozen=True, slots=True)
class Close:
    """End a link: `Bye(code, retry_after_s)` if it can still be written, then nothing more."""

    link: LinkId
    why: str  # for the log
    code: int
    retry_after_s: int


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message over a link; see above for how."""

    link: LinkId
    message: Message
    priority: Priority


@dataclass(frozen=True, slots=True)
class Reply:
    """Write a message into the response to `Requested`; the response ends after `is_last`."""

    link: LinkId
    token: Token
    message: Message
    is_last: bool


@dataclass(frozen=True, slots=True)
class Pause:
    """Read nothing more from a link (requests: 429) until `Resume`: it is over its budget."""

    link: LinkId


@dataclass(frozen=True, slots=True)
class Resume:
    """Read from a link again."""

    link: LinkId


# questions to the ledger and the mempool; each has exactly one answer, whenever it comes


@dataclass(frozen=True, slots=True)
class ValidateHeaders:
    """Take these headers, each the child of the one before: `HeadersVerdict`."""

    token: Token
    headers: tuple[Header, ...]


@dataclass(frozen=True, slots=True)
class ValidateBlock:
    """Decode and take this block: `BlockVerdict`. Its parent is stored, or was asked before it."""

    token: Token
    block: BlockMessage


@dataclass(frozen=True, slots=True)
class ValidateTx:
    """Take this transaction into the mempool: `TxVerdict`."""

    token: Token
    transaction: Transaction


@dataclass(frozen=True, slots=True)
class ReadBlock:
    """Read a block's bytes from the ledger: `BlockRead`."""

    token: Token
    block_id: Hash32


@dataclass(frozen=True, slots=True)
class ReadHeaders:
    """Read headers of the best chain after the first of `locator` that is on it: `HeadersRead`.

    Without one, from genesis; up to `stop` (zeros: none), at most `limit`.
    Bitcoin: getheaders in ProcessMessage.
    """

    token: Token
    locator: tuple[Hash32, ...]
    stop: Hash32
    limit: int


# the rest


@dataclass(frozen=True, slots=True)
class SaveState:
    """Replace what is stored under `what`, atomically; no answer, and it may be lost in a crash."""

    part: SavedPart
    data: bytes


@dataclass(frozen=True, slots=True)
class Trace:
    """Something worth counting: for logs, metrics and the simulator's oracles. No effect."""

    kind: str
    fields: tuple[tuple[str, str | int], ...]


Action = (
    Dial
    | Feeler
    | Admit
    | Refuse
    | Close
    | Send
    | Reply
    | Pause
    | Resume
    | ValidateHeaders
    | ValidateBlock
    | ValidateTx
    | ReadBlock
    | ReadHeaders
    | SaveState
    | Trace
)
