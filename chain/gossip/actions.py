"""Actions of the gossip core, which the driver carries out in order; it reports back by events.

How a driver transports messages:

* `Send` on a link we ACCEPTED: a frame on its down stream.
* `Send` on a link we DIALLED: if `is_request(message)` (getheaders, getdata of blocks only), a
  separate HTTP request, `POST /headers` or `POST /blocks`, with the one frame as body; the frames
  of the response come back as `Frames`, and its end always as `RequestFinished`. Any other message
  is a frame on `POST /up/{lane}`: lane 1 if `is_bulk(message)`, else lane 0.
* On the accepting side such a request is `Requested(link, token, message)`, answered by `Reply`s
  into the HTTP response. Messages from the up stream or the down stream are `Frames`.

Messages of the same `lane` stay in order; messages of different lanes may overtake each other.
Lower lanes go first; BLOCK is sent at once, the others may wait up to 50 ms to share a request.
After `Close` nothing is sent.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from chain.gossip.events import DialId, LinkId, Token
from chain.gossip.seeds import DnsSeed
from chain.gossip.wire.address import Address
from chain.gossip.wire.hello import Hello, HelloReply
from chain.gossip.wire.messages import BlockMessage, Message
from chain.primitives.block import RawHeaders
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
    BLOCK_RELAY = "block only"  # no transactions, no addresses: others cannot discover such links
    MANUAL = "manual"
    ADDR_FETCH = "for addresses"  # ends once a seed has given its addresses


class SavedPart(StrEnum):
    """What `SaveState` keeps across restarts; the values are the fields of `SavedState`."""

    ADDRESSES = "addresses"
    ANCHORS = "anchors"
    DISCOURAGED = "discouraged"


# links


@dataclass(frozen=True, slots=True)
class Dial:
    """Dial `address`: GET /hello, then POST /links with `hello`; gives `Dialled` or `DialFailed`.

    Before sending anything the driver checks that the peer's IP is the one dialled, and that magic,
    identity and version of the GET's reply match `hello`.
    """

    dial: DialId
    address: Address
    hello: Hello
    connection_type: ConnectionType


@dataclass(frozen=True, slots=True)
class Feeler:
    """Send only GET /hello, to test an address; gives `FeelerSucceeded` or `DialFailed`."""

    dial: DialId
    address: Address


@dataclass(frozen=True, slots=True)
class ResolveSeed:
    """Resolve a DNS name within a time limit; gives exactly one `SeedResolved`."""

    seed: DnsSeed


@dataclass(frozen=True, slots=True)
class Admit:
    """Reply to an `Accepted` with 201 and this hello; later frames wait for the down stream."""

    link: LinkId
    reply: HelloReply


@dataclass(frozen=True, slots=True)
class Refuse:
    """Reply to an `Accepted` with this HTTP status: 403, 409, 421, 426, 429 or 503."""

    link: LinkId
    status: int
    retry_after_s: int  # Retry-After, if not 0


@dataclass(frozen=True, slots=True)
class Close:
    """End a link: send `Bye(code, retry_after_s)` if it can still be written, then nothing more."""

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
    """Write a message into the response to `Requested`; after `is_last` the response ends."""

    link: LinkId
    token: Token
    message: Message
    is_last: bool


@dataclass(frozen=True, slots=True)
class Pause:
    """Read nothing more from a link (requests get 429) until `Resume`: it is over its budget."""

    link: LinkId


@dataclass(frozen=True, slots=True)
class Resume:
    """Read from a link again."""

    link: LinkId


# requests to the ledger and the mempool; each gets exactly one reply, at any later time


@dataclass(frozen=True, slots=True)
class ValidateHeaders:
    """Validate headers, each the child of the one before; gives `HeadersVerdict`."""

    token: Token
    headers: RawHeaders


@dataclass(frozen=True, slots=True)
class ValidateBlocks:
    """Decode and add blocks, each the parent of the next; gives a verdict in `BlockVerdicts`.

    The parent of the first is stored or was given before.
    """

    token: Token
    blocks: tuple[BlockMessage, ...]


@dataclass(frozen=True, slots=True)
class ValidateTx:
    """Offer a transaction to the mempool; gives `TxVerdict`."""

    token: Token
    transaction: Transaction


@dataclass(frozen=True, slots=True)
class ReadBlocks:
    """Read blocks' bytes from the ledger; gives `BlocksRead`.

    At least the first one is read, and of the others as many as fit into `bytes_max` with it.
    """

    token: Token
    block_ids: tuple[Hash32, ...]
    bytes_max: int


@dataclass(frozen=True, slots=True)
class ReadHeaders:
    """Read headers of the best chain after the first id of `locator` on it; gives `HeadersRead`.

    An empty locator starts at genesis. Reads up to and including `stop` (zeros: no stop), at most
    `limit` headers. Bitcoin: getheaders in ProcessMessage.
    """

    token: Token
    locator: tuple[Hash32, ...]
    stop: Hash32
    limit: int


# state and traces


@dataclass(frozen=True, slots=True)
class SaveState:
    """Atomically replace what is stored under `part`; no reply, and a crash may lose it."""

    part: SavedPart
    data: bytes


@dataclass(frozen=True, slots=True)
class Trace:
    """An event to count, for logs, metrics and the simulator's checks; it has no other effect."""

    kind: str
    fields: tuple[tuple[str, str | int], ...]


Action = (
    Dial
    | Feeler
    | ResolveSeed
    | Admit
    | Refuse
    | Close
    | Send
    | Reply
    | Pause
    | Resume
    | ValidateHeaders
    | ValidateBlocks
    | ValidateTx
    | ReadBlocks
    | ReadHeaders
    | SaveState
    | Trace
)
