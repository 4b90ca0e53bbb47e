"""The messages of the protocol: Bitcoin's, and two of our own. `Message` is the one list of them.

Each class has its type number (BIP324's short ids; ours start at 128), its name (Bitcoin's if it
has such a message), the maximum size of its payload in bytes, and methods that encode and decode
the payload. `decode` raises only DecodeError.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, Self

from chain.consensus.entry import LOCATOR_ENTRIES_MAX
from chain.gossip.wire.address import Address, encode_address, read_address
from chain.gossip.wire.compact import (
    BlockTransactions,
    CompactBlock,
    GetBlockTransactions,
    SendCompact,
)
from chain.gossip.wire.extension import Extension
from chain.primitives.block import (
    HEADER_BYTES,
    PREVIOUS,
    Block,
    Header,
    RawHeaders,
    decode_block,
    decode_header,
    encode_headers,
)
from chain.primitives.encoding import (
    DecodeError,
    check_end,
    compact_size,
    read_bytes,
    read_compact_size,
    read_count,
    read_uint,
)
from chain.primitives.hashes import sha256d
from chain.primitives.numbers import Hash32
from chain.primitives.transaction import Transaction, decode_transaction

HEADERS_MAX: Final = 2000  # Bitcoin: MAX_HEADERS_RESULTS
INVENTORY_MAX: Final = 1000
ADDRESSES_MAX: Final = 1000  # Bitcoin: MAX_ADDR_TO_SEND
BLOCK_BYTES_MAX: Final = 4_000_000  # no block of 4,000,000 weight units has more
TRANSACTION_BYTES_MAX: Final = 400_000  # standard weight
WIRE_VERSION: Final = 70016  # first field of Bitcoin's getheaders; ignored when read
BYE_RETRY_S_MAX: Final = 86_400

WTX: Final = 5  # inventory kinds, BIP144 and BIP339
WITNESS_TX: Final = 0x40000001
WITNESS_BLOCK: Final = 0x40000002
COMPACT_BLOCK: Final = 4  # BIP152


@dataclass(frozen=True, slots=True)
class Inventory:
    """An item that a peer has or wants: WTX by wtxid, WITNESS_TX by txid, WITNESS_BLOCK."""

    kind: int
    id: Hash32

    def encode(self) -> bytes:
        """Return 4 bytes of kind and the id."""
        return self.kind.to_bytes(4, "little") + self.id


@dataclass(frozen=True, slots=True)
class _Inventories:
    """The payload of messages that are a list of items."""

    bytes_max: ClassVar[int] = 3 + 36 * INVENTORY_MAX
    items: tuple[Inventory, ...]

    def encode(self) -> bytes:
        return compact_size(len(self.items)) + b"".join(item.encode() for item in self.items)

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        count, at = read_count(payload, 0, INVENTORY_MAX)
        items = []
        for _ in range(count):
            kind, at = read_uint(payload, at, 4)
            item_id, at = read_bytes(payload, at, 32)
            items.append(Inventory(kind, Hash32(item_id)))
        check_end(payload, at)
        return cls(tuple(items))


@dataclass(frozen=True, slots=True)
class _Nonce:
    """The payload of messages that are a nonce."""

    bytes_max: ClassVar[int] = 8
    nonce: int

    def encode(self) -> bytes:
        return _encode_uint64(self.nonce)

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        return cls(_decode_uint64(payload))


@dataclass(frozen=True, slots=True)
class BlockMessage:
    """A whole block as bytes; only its header is decoded, the rest is left to validation.

    A block that we reconstructed was decoded before, one transaction at a time.
    """

    type: ClassVar[int] = 2
    name: ClassVar[str] = "block"
    bytes_max: ClassVar[int] = BLOCK_BYTES_MAX
    raw: bytes
    block_id: Hash32 = field(init=False, compare=False)
    whole: Block | None = field(default=None, compare=False, repr=False)  # decoded form, if known

    def __post_init__(self) -> None:
        object.__setattr__(self, "block_id", sha256d(self.raw[:HEADER_BYTES]))

    @classmethod
    def of(cls, block: Block) -> Self:
        """Return the message of a decoded block."""
        return cls(block.raw, block)

    def block(self) -> Block:
        """Return the block, decoded. Raises DecodeError."""
        return decode_block(self.raw) if self.whole is None else self.whole

    @property
    def header(self) -> Header:
        """The block's header."""
        return decode_header(self.raw[:HEADER_BYTES])

    @property
    def previous(self) -> Hash32:
        """The id of the block's parent, as in its header."""
        return Hash32(self.raw[PREVIOUS])

    def encode(self) -> bytes:
        return self.raw

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        if len(payload) <= HEADER_BYTES:
            raise DecodeError("a block shorter than its header")
        return cls(payload)


@dataclass(frozen=True, slots=True)
class FeeFilter:
    """Asks the peer to announce no transaction that pays less (BIP133)."""

    type: ClassVar[int] = 5
    name: ClassVar[str] = "feefilter"
    bytes_max: ClassVar[int] = 8
    grains_per_kvb: int

    def encode(self) -> bytes:
        return _encode_uint64(self.grains_per_kvb)

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        return cls(_decode_uint64(payload))


@dataclass(frozen=True, slots=True)
class GetData(_Inventories):
    """Requests blocks, by `block` or `notfound`, or transactions, by `tx` or `notfound`."""

    type: ClassVar[int] = 11
    name: ClassVar[str] = "getdata"


@dataclass(frozen=True, slots=True)
class GetHeaders:
    """Requests up to 2000 headers after the first id of `locator` on the peer's best chain."""

    type: ClassVar[int] = 12
    name: ClassVar[str] = "getheaders"
    bytes_max: ClassVar[int] = 4 + 1 + 32 * LOCATOR_ENTRIES_MAX + 32
    locator: tuple[Hash32, ...]  # from the tip downwards
    stop: Hash32  # last header wanted; zeros: no stop

    def encode(self) -> bytes:
        ids = compact_size(len(self.locator)) + b"".join(self.locator)
        return WIRE_VERSION.to_bytes(4, "little") + ids + self.stop

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        _, at = read_uint(payload, 0, 4)
        count, at = read_count(payload, at, LOCATOR_ENTRIES_MAX)
        ids = []
        for _ in range(count):
            block_id, at = read_bytes(payload, at, 32)
            ids.append(Hash32(block_id))
        stop, at = read_bytes(payload, at, 32)
        check_end(payload, at)
        return cls(tuple(ids), Hash32(stop))


@dataclass(frozen=True, slots=True)
class Headers:
    """Headers, each the child of the one before: a reply, or the announcement of a tip (BIP130)."""

    type: ClassVar[int] = 13
    name: ClassVar[str] = "headers"
    bytes_max: ClassVar[int] = 3 + 81 * HEADERS_MAX
    headers: Sequence[Header]

    def encode(self) -> bytes:
        """Return the payload; each header is followed by a zero, its transaction count."""
        encoded = b"".join(raw + b"\x00" for raw in encode_headers(self.headers))
        return compact_size(len(self.headers)) + encoded

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        count, at = read_count(payload, 0, HEADERS_MAX)
        each = HEADER_BYTES + 1
        raw, at = read_bytes(payload, at, count * each)
        check_end(payload, at)
        if any(raw[HEADER_BYTES::each]):
            raise DecodeError("a header with transactions")
        starts = range(0, len(raw), each)
        return cls(RawHeaders(b"".join(raw[at : at + HEADER_BYTES] for at in starts)))


@dataclass(frozen=True, slots=True)
class Inv(_Inventories):
    """Announces transactions (BIP339: by wtxid)."""

    type: ClassVar[int] = 14
    name: ClassVar[str] = "inv"


@dataclass(frozen=True, slots=True)
class NotFound(_Inventories):
    """The requested items that the peer does not have."""

    type: ClassVar[int] = 17
    name: ClassVar[str] = "notfound"


@dataclass(frozen=True, slots=True)
class Ping(_Nonce):
    """Asks for a Pong with the same nonce (BIP31)."""

    type: ClassVar[int] = 18
    name: ClassVar[str] = "ping"


@dataclass(frozen=True, slots=True)
class Pong(_Nonce):
    """The reply to a Ping."""

    type: ClassVar[int] = 19
    name: ClassVar[str] = "pong"


@dataclass(frozen=True, slots=True)
class TxMessage:
    """A requested transaction."""

    type: ClassVar[int] = 21
    name: ClassVar[str] = "tx"
    bytes_max: ClassVar[int] = TRANSACTION_BYTES_MAX
    transaction: Transaction

    def encode(self) -> bytes:
        return self.transaction.raw

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        return cls(decode_transaction(payload))


@dataclass(frozen=True, slots=True)
class AddressRecord:
    """An address, and when its node was last seen (unix seconds)."""

    address: Address
    time: int
    services: int


@dataclass(frozen=True, slots=True)
class Addresses:
    """Addresses of nodes (BIP155: addrv2)."""

    type: ClassVar[int] = 28
    name: ClassVar[str] = "addrv2"
    bytes_max: ClassVar[int] = 64 * 1024
    records: tuple[AddressRecord, ...]

    def encode(self) -> bytes:
        parts = [compact_size(len(self.records))]
        for record in self.records:
            services = compact_size(record.services)
            parts += (record.time.to_bytes(4, "little"), services, encode_address(record.address))
        return b"".join(parts)

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Return the message of a payload, without records of unknown address types."""
        count, at = read_count(payload, 0, ADDRESSES_MAX)
        records = []
        for _ in range(count):
            time, at = read_uint(payload, at, 4)
            services, at = read_compact_size(payload, at)
            address, at = read_address(payload, at)
            if address is not None:
                records.append(AddressRecord(address, time, services))
        check_end(payload, at)
        return cls(tuple(records))


@dataclass(frozen=True, slots=True)
class Bye:
    """The sender closes this link; wait at least `retry_after_s` before dialling again."""

    type: ClassVar[int] = 128
    name: ClassVar[str] = "bye"  # not a message of Bitcoin's
    bytes_max: ClassVar[int] = 6
    code: int  # an HTTP status
    retry_after_s: int

    def encode(self) -> bytes:
        return self.code.to_bytes(2, "little") + self.retry_after_s.to_bytes(4, "little")

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        code, at = read_uint(payload, 0, 2)
        retry_after_s, at = read_uint(payload, at, 4)
        check_end(payload, at)
        return cls(code, min(retry_after_s, BYE_RETRY_S_MAX))


@dataclass(frozen=True, slots=True)
class GetAddresses:
    """Requests addresses; answered once per link."""

    type: ClassVar[int] = 129
    name: ClassVar[str] = "getaddr"
    bytes_max: ClassVar[int] = 0

    def encode(self) -> bytes:
        """Return the payload, which is empty."""
        return b""

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        check_end(payload, 0)
        return cls()


Message = (
    BlockMessage
    | BlockTransactions
    | CompactBlock
    | GetBlockTransactions
    | SendCompact
    | FeeFilter
    | GetData
    | GetHeaders
    | Headers
    | Inv
    | NotFound
    | Ping
    | Pong
    | TxMessage
    | Addresses
    | Bye
    | Extension
    | GetAddresses
)
Request = GetHeaders | GetData  # requests that a dialler may send as HTTP requests


def is_request(message: Message) -> bool:
    """Return whether a dialler sends this by POST /headers or /blocks, not on the up stream."""
    if isinstance(message, GetData):
        return all(item.kind == WITNESS_BLOCK for item in message.items)
    return isinstance(message, GetHeaders)


def is_bulk(message: Message) -> bool:
    """Return whether a dialler sends this on the up stream's bulk lane (bodies), not on control."""
    return isinstance(message, BlockMessage | BlockTransactions | TxMessage)


def _encode_uint64(value: int) -> bytes:
    return value.to_bytes(8, "little")


def _decode_uint64(payload: bytes) -> int:
    value, at = read_uint(payload, 0, 8)
    check_end(payload, at)
    return value
