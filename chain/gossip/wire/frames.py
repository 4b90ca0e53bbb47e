"""Frames: `u32 little-endian length of the payload | u8 type | payload`, one for each message.

A length over its type's own cap is refused as soon as the five header bytes have arrived, before
any of the payload is buffered. Unknown types below 128 end the link; from 128 they are skipped.
"""

import struct
from collections import Counter
from collections.abc import Iterable
from typing import Any, ClassVar, Final, Protocol, get_args

from chain.gossip.wire.extension import EXTENSION_TYPE_MIN, Extension
from chain.gossip.wire.messages import Message
from chain.primitives.encoding import DecodeError

_HEADER: Final = struct.Struct("<IB")
FRAME_HEADER_BYTES: Final = _HEADER.size
CONTENT_TYPE: Final = "application/vnd.groat.frames"


class MessageClass(Protocol):
    """A class of messages, as frames see it."""

    type: ClassVar[int]
    name: ClassVar[str]
    bytes_max: ClassVar[int]

    def encode(self) -> bytes:
        """Return the payload."""

    @classmethod
    def decode(cls, payload: bytes) -> Message:
        """Return the message of a payload. Raises DecodeError."""


def classes_by_type(classes: Iterable[Any]) -> dict[int, type[MessageClass]]:
    """Return message classes by type number; each must have all of `MessageClass`."""
    by_type: dict[int, type[MessageClass]] = {}
    for kind in classes:
        needed = ("type", "name", "bytes_max", "encode", "decode")
        missing = [attribute for attribute in needed if not hasattr(kind, attribute)]
        assert not missing, f"{kind.__name__} has no {', '.join(missing)}"
        other = by_type.setdefault(kind.type, kind)
        assert other is kind, f"{kind.__name__} has the type of {other.__name__}: {kind.type}"
    return by_type


_BY_TYPE: Final = classes_by_type(kind for kind in get_args(Message) if kind is not Extension)


def encode_frame(message: Message) -> bytes:
    """Return the frame that carries `message`."""
    payload = message.encode()
    assert len(payload) <= message.bytes_max, "a message to be sent is within its own cap"
    return len(payload).to_bytes(4, "little") + bytes([message.type]) + payload


def frame_name(frame_type: int) -> str:
    """Return the name of a frame type: Bitcoin's if it has such a message."""
    kind = _BY_TYPE.get(frame_type)
    return "*other*" if kind is None else kind.name


def decode_frames(data: bytes, counts: Counter[int] | None = None) -> list[Message]:
    """Return the messages of a complete body; `counts` as for FrameDecoder.

    Raises DecodeError: malformed, or the body ends inside a frame.
    """
    decoder = FrameDecoder(counts)
    messages = decoder.feed(data)
    decoder.finish()
    return messages


class FrameDecoder:
    """Turns a stream of bytes, split anywhere, into messages; buffers at most one frame."""

    def __init__(self, counts: Counter[int] | None = None) -> None:
        """Add the bytes of each frame to `counts`, by frame type."""
        self._kept = bytearray()
        self._counts = counts

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages that `data` completes, in order.

        Raises DecodeError: unknown type below 128, length over the cap, malformed payload. The
        stream cannot be continued then.
        """
        kept, counts, at = self._kept, self._counts, 0
        kept += data
        have = len(kept)
        messages: list[Message] = []
        while have >= at + FRAME_HEADER_BYTES:
            length, number = _HEADER.unpack_from(kept, at)
            kind = _BY_TYPE.get(number)
            if kind is None or length > kind.bytes_max:
                _check_header(number, length, kind)
            start = at + FRAME_HEADER_BYTES
            end = start + length
            if end > have:
                break
            if counts is not None:
                counts[number] += end - at
            if kind is None:
                messages.append(Extension(number, length))
            else:
                messages.append(kind.decode(bytes(kept[start:end])))
            at = end
        del kept[:at]
        return messages

    def finish(self) -> None:
        """Raise DecodeError if the stream ended inside a frame."""
        if self._kept:
            raise DecodeError(f"{len(self._kept)} bytes of an unfinished frame")


def _check_header(number: int, length: int, kind: type[MessageClass] | None) -> None:
    """Raise DecodeError for a frame of an unknown type, or longer than its type allows."""
    if kind is None and number < EXTENSION_TYPE_MIN:
        raise DecodeError(f"unknown frame type {number}")
    limit = Extension.bytes_max if kind is None else kind.bytes_max
    if length > limit:
        raise DecodeError(f"a frame of type {number} with {length} bytes, at most {limit}")
