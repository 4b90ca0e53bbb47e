"""The handshake: what each side states about itself before a link exists.

The dialler's Hello is the body of `POST /links`, the acceptor's HelloReply that of the response; a
plain Hello also answers `GET /hello`, with which a node checks an address before sending anything.
"""

import struct
from dataclasses import dataclass
from typing import Final

from chain.gossip.wire.address import Address, encode_address, read_address
from chain.primitives.encoding import DecodeError, read_bytes, read_sized, with_size
from chain.primitives.numbers import Hash32

HELLO_BYTES_MAX: Final = 512
PROTOCOL_VERSION: Final = 1
PROTOCOL_VERSION_MIN: Final = 1  # oldest supported version
AGENT_BYTES_MAX: Final = 64
SERVICE_FULL_NODE: Final = 1  # services
SERVICE_BLOCK_RUNS: Final = 2  # answers requests for REPLY_BLOCKS_MAX blocks, not only for 16
SERVICES: Final = SERVICE_FULL_NODE | SERVICE_BLOCK_RUNS  # of this version
RELAYS_TRANSACTIONS: Final = 1  # flags
RELAYS_ADDRESSES: Final = 2
_PRINTABLE: Final = frozenset(range(0x20, 0x7F))
_LAYOUT: Final = struct.Struct("<4sHH32sQQqIH")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """A node's network, capabilities and chain height."""

    magic: bytes  # 4 bytes
    version: int
    version_min: int
    identity: Hash32  # network_identity: all Params, so the genesis too
    services: int
    nonce: int  # of this dial; an acceptor that made it has dialled itself
    unix_s: int
    height: int
    flags: int
    agent: str  # printable ASCII, at most 64
    listen: Address | None  # where it accepts links; None: behind NAT

    def encode(self) -> bytes:
        """Return the hello's bytes, at most HELLO_BYTES_MAX."""
        head = _LAYOUT.pack(
            self.magic,
            self.version,
            self.version_min,
            self.identity,
            self.services,
            self.nonce,
            self.unix_s,
            self.height,
            self.flags,
        )
        return head + with_size(self.agent.encode("ascii")) + encode_address(self.listen)


@dataclass(frozen=True, slots=True)
class HelloReply:
    """The acceptor's hello, with the dialler's address as it sees it and its ping interval."""

    hello: Hello
    your_address: Address | None  # source of the dial, as the acceptor saw it
    ping_interval_s: int

    def encode(self) -> bytes:
        """Return the reply's bytes, at most HELLO_BYTES_MAX."""
        interval = self.ping_interval_s.to_bytes(2, "little")
        return self.hello.encode() + encode_address(self.your_address) + interval


def decode_hello(data: bytes) -> Hello:
    """Return the hello encoded by all of `data`. Raises DecodeError."""
    hello, at = _read_hello(data)
    if at != len(data):
        raise DecodeError(f"{len(data) - at} bytes after the hello")
    return hello


def decode_reply(data: bytes) -> HelloReply:
    """Return the reply encoded by all of `data`. Raises DecodeError."""
    hello, at = _read_hello(data)
    your_address, at = read_address(data, at)
    interval, at = read_bytes(data, at, 2)
    if at != len(data):
        raise DecodeError(f"{len(data) - at} bytes after the reply")
    return HelloReply(hello, your_address, int.from_bytes(interval, "little"))


def _read_hello(data: bytes) -> tuple[Hello, int]:
    if len(data) > HELLO_BYTES_MAX:
        raise DecodeError(f"a hello of {len(data)} bytes")
    head, at = read_bytes(data, 0, _LAYOUT.size)
    agent, at = read_sized(data, at)
    if len(agent) > AGENT_BYTES_MAX or not _PRINTABLE.issuperset(agent):
        raise DecodeError("an agent that is not short printable ASCII")
    listen, at = read_address(data, at)
    magic, version, version_min, identity, *numbers = _LAYOUT.unpack(head)
    services, nonce, unix_s, height, flags = numbers
    hello = Hello(
        magic=magic,
        version=version,
        version_min=version_min,
        identity=Hash32(identity),
        services=services,
        nonce=nonce,
        unix_s=unix_s,
        height=height,
        flags=flags,
        agent=agent.decode("ascii"),
        listen=listen,
    )
    return hello, at
