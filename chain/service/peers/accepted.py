"""Links that others dialled: their secrets, their order of requests, what they wait for."""

import asyncio
import hashlib
import hmac
import secrets
from collections import Counter
from typing import Final

from chain.gossip.actions import Admit, Lane, Refuse
from chain.gossip.address import Address
from chain.gossip.events import LinkId, Token
from chain.gossip.frames import encode_frame
from chain.gossip.messages import Bye, Message
from chain.service.peers.outbox import Backlog, Outbox
from chain.service.peers.wire import LANE_BYTES_MAX, REQUESTS_MAX

SECRET_BYTES: Final = 16
WRITE_BYTES: Final = 64 * 1024  # one write to a down stream


class Turn:
    """The order of one lane's requests: each number is taken once, and the last may be repeated."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.done = 0


class AcceptedLink:
    """One link, from its `POST /links` on."""

    def __init__(
        self, link: LinkId, remote: Address, backlog: Backlog, local: Address | None = None
    ) -> None:
        """Carry link `link`, which `remote` dialled, at our `local` address."""
        self.id = link
        self.local = local
        self.remote = remote
        self.outbox = Outbox(backlog)
        self.backlog = backlog
        self.secret = secrets.token_bytes(SECRET_BYTES)
        self.decision: asyncio.Future[Admit | Refuse] = asyncio.get_running_loop().create_future()
        self.turns = tuple(Turn() for _ in LANE_BYTES_MAX)
        self._requests: Counter[str] = Counter()  # under way, by kind
        self.readable = asyncio.Event()  # cleared while the core wants nothing read
        self.readable.set()
        self.is_closed = False
        self.is_streaming = False
        self._replies: dict[Token, asyncio.Queue[bytes]] = {}

    def send(self, message: Message, lane: Lane) -> None:
        """Queue a frame for the down stream."""
        self.outbox.put(encode_frame(message), lane)

    def begin(self, kind: str) -> bool:
        """Count a request of this kind, if there are not too many."""
        if self._requests[kind] >= REQUESTS_MAX:
            return False
        self._requests[kind] += 1
        return True

    def finish(self, kind: str) -> None:
        """Forget a request of this kind."""
        self._requests[kind] -= 1

    def expect(self, token: Token) -> None:
        """Collect what the core replies to a request, until `forget`."""
        self._replies[token] = asyncio.Queue()

    def reply(self, token: Token, message: Message, *, is_last: bool) -> None:
        """Hand over a part of an answer; lost if nobody waits any more."""
        if token not in self._replies:
            return
        frame = encode_frame(message)
        self.backlog.add(len(frame))
        self._replies[token].put_nowait(frame)
        if is_last:
            self._replies[token].put_nowait(b"")

    async def next_reply(self, token: Token) -> bytes:
        """Wait for the next frame of an answer; empty when it is complete, or the link closed."""
        frame = await self._replies[token].get()
        if frame:
            self.backlog.wrote([frame])
        return frame

    def forget(self, token: Token) -> None:
        """Wait for no more replies."""
        replies = self._replies.pop(token)
        while not replies.empty():
            self.backlog.drop(len(replies.get_nowait()))

    def pause(self) -> None:
        """Read nothing more."""
        self.readable.clear()

    def resume(self) -> None:
        """Read again."""
        self.readable.set()

    def close(self, bye: Bye | None) -> None:
        """Say goodbye if there is something to say, and let nothing more in or out."""
        self.outbox.finish(encode_frame(bye) if bye else b"")
        self.is_closed = True
        self.readable.set()
        for replies in self._replies.values():
            replies.put_nowait(b"")


class AcceptedLinks:
    """All of them, found by number or by secret."""

    def __init__(self) -> None:
        self._by_id: dict[LinkId, AcceptedLink] = {}
        self._by_digest: dict[bytes, AcceptedLink] = {}

    def add(self, link: AcceptedLink) -> None:
        """Take a new link."""
        self._by_id[link.id] = link
        self._by_digest[hashlib.sha256(link.secret).digest()] = link

    def remove(self, link: LinkId) -> AcceptedLink | None:
        """Forget a link and return it; None if it is not here."""
        found = self._by_id.pop(link, None)
        if found is not None:
            del self._by_digest[hashlib.sha256(found.secret).digest()]
        return found

    def get(self, link: LinkId) -> AcceptedLink | None:
        """Return the link of this number."""
        return self._by_id.get(link)

    def find(self, secret_hex: str) -> AcceptedLink | None:
        """Return the link of this secret, in time that tells nothing about other secrets."""
        try:
            secret = bytes.fromhex(secret_hex)
        except ValueError:
            return None
        found = self._by_digest.get(hashlib.sha256(secret).digest())
        return found if found and hmac.compare_digest(found.secret, secret) else None

    def unfinished(self) -> list[AcceptedLink]:
        """Return those without a down stream yet, oldest first."""
        return [link for link in self._by_id.values() if not link.is_streaming]

    def all(self) -> list[AcceptedLink]:
        """Return all links."""
        return list(self._by_id.values())
