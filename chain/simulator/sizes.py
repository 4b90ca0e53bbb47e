"""The frame size of a message, computed without encoding it: needed for each one sent."""

from collections.abc import Callable
from typing import Any, Final

from chain.gossip.wire.compact import BlockTransactions, CompactBlock
from chain.gossip.wire.frames import FRAME_HEADER_BYTES, encode_frame
from chain.gossip.wire.messages import (
    Addresses,
    BlockMessage,
    GetData,
    GetHeaders,
    Headers,
    Inv,
    Message,
    Ping,
    Pong,
    TxMessage,
)
from chain.primitives.block import HEADER_BYTES
from chain.primitives.encoding import compact_size

_ID_BYTES: Final = 32
_INVENTORY_BYTES: Final = 4 + _ID_BYTES
_NONCE_BYTES: Final = 8
_VERSION_BYTES: Final = 4
_RECORD_BYTES: Final = 4 + 1 + 1 + 2  # time, network, the IP's size, port


def frame_size(message: Message) -> int:
    """Return the length of `encode_frame(message)`."""
    payload_bytes = _PAYLOAD_BYTES.get(type(message))
    return (
        len(encode_frame(message))
        if payload_bytes is None
        else FRAME_HEADER_BYTES + payload_bytes(message)
    )


def _counted(count: int, item_bytes: int) -> int:
    return len(compact_size(count)) + count * item_bytes


def _items(message: Inv | GetData) -> int:
    return _counted(len(message.items), _INVENTORY_BYTES)


def _locator(message: GetHeaders) -> int:
    return _VERSION_BYTES + _counted(len(message.locator), _ID_BYTES) + _ID_BYTES


def _addresses(message: Addresses) -> int:
    sizes = [
        _RECORD_BYTES + len(compact_size(record.services)) + len(record.address.ip)
        for record in message.records
    ]
    return len(compact_size(len(sizes))) + sum(sizes)


def _transactions(message: BlockTransactions) -> int:
    sizes = [len(transaction.raw) for transaction in message.transactions]
    return _ID_BYTES + len(compact_size(len(sizes))) + sum(sizes)


_PAYLOAD_BYTES: Final[dict[type[Message], Callable[[Any], int]]] = {
    Headers: lambda message: _counted(len(message.headers), HEADER_BYTES + 1),
    Ping: lambda _: _NONCE_BYTES,
    Pong: lambda _: _NONCE_BYTES,
    Addresses: _addresses,
    CompactBlock: lambda message: len(message.encode()),  # which it keeps
    Inv: _items,
    GetData: _items,
    GetHeaders: _locator,
    BlockMessage: lambda message: len(message.raw),
    TxMessage: lambda message: len(message.transaction.raw),
    BlockTransactions: _transactions,
}
