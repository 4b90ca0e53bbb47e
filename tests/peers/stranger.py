"""A dialler made of bare httpx: it speaks the protocol, or just not."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import httpx

from chain.consensus.params import REGTEST, network_identity
from chain.gossip.wire.address import Address
from chain.gossip.wire.frames import FrameDecoder, encode_frame
from chain.gossip.wire.hello import Hello, decode_reply
from chain.gossip.wire.messages import Message
from tests.peers.nodes import PATIENCE_S

PREFIX = "/groat/1"
HELLO = Hello(
    magic=REGTEST.magic,
    version=1,
    version_min=1,
    identity=network_identity(REGTEST),
    services=1,
    nonce=4711,
    unix_s=1_800_000_000,
    height=0,
    flags=3,
    agent="stranger",
    listen=None,
)


@asynccontextmanager
async def calling(
    address: Address, source: str | None = None, **headers: str
) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client that sends what every request of a peer carries, and `headers`.

    It calls from `source`, one of the machine's addresses: all of 127.0.0.0/8 are.
    """
    usual = {"groat-network": REGTEST.magic.hex(), "accept-encoding": "identity"}
    async with httpx.AsyncClient(
        base_url=f"http://{address}",
        headers=usual | {name.replace("_", "-"): value for name, value in headers.items()},
        transport=httpx.AsyncHTTPTransport(local_address=source, trust_env=False),
        timeout=PATIENCE_S,
    ) as client:
        yield client


@dataclass
class Stranger:
    """One link that was admitted."""

    client: httpx.AsyncClient
    secret: str
    down: httpx.Response
    _chunks: AsyncIterator[bytes]
    _decoder: FrameDecoder = field(default_factory=FrameDecoder)
    _heard: deque[Message] = field(default_factory=deque)
    _seq: int = 0

    async def heard(self, kind: type[Message]) -> Message:
        """Return the next message of this kind."""
        while True:
            while self._heard:
                if isinstance(message := self._heard.popleft(), kind):
                    return message
            self._heard += self._decoder.feed(await anext(self._chunks))

    async def rest(self) -> list[Message]:
        """Return the messages until the node ends the stream."""
        late = [m async for chunk in self._chunks for m in self._decoder.feed(chunk)]
        return [*self._heard, *late]

    async def up(self, *messages: Message, lane: int = 0, seq: int | None = None) -> int:
        """Send messages as the next batch, or as one of another number; return the status."""
        return await self.up_bytes(b"".join(map(encode_frame, messages)), lane=lane, seq=seq)

    async def up_bytes(self, body: bytes, *, lane: int = 0, seq: int | None = None) -> int:
        if seq is None:
            self._seq += 1
        path = f"{PREFIX}/links/{self.secret}/up/{lane}"
        headers = {"groat-seq": str(self._seq if seq is None else seq)}
        return (await self.client.post(path, content=body, headers=headers)).status_code

    async def ask(self, kind: str, *messages: Message) -> httpx.Response:
        """POST a request for headers or blocks."""
        headers = {"groat-link": self.secret}
        content = b"".join(map(encode_frame, messages))
        return await self.client.post(f"{PREFIX}/{kind}", content=content, headers=headers)


@asynccontextmanager
async def linked_stranger(
    address: Address, nonce: int = 4711, source: str | None = None
) -> AsyncIterator[Stranger]:
    """Dial a node and keep the link open inside the block."""
    async with calling(address, source) as client:
        content = replace(HELLO, nonce=nonce).encode()
        answer = await client.post(f"{PREFIX}/links", content=content)
        assert answer.status_code == 201
        assert decode_reply(answer.content).hello.identity == HELLO.identity
        secret = answer.headers["groat-link"]
        async with client.stream("GET", f"{PREFIX}/links/{secret}/down") as down:
            assert down.status_code == 200
            yield Stranger(client, secret, down, down.aiter_raw())
