"""The accepting side's handshake, and the lifetime of the resulting links."""

import asyncio
import hashlib
import hmac
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from chain.gossip.actions import Admit, Priority, Refuse
from chain.gossip.config import Config
from chain.gossip.events import Accepted, Closed, LinkId, Token, WriteProgress
from chain.gossip.wire.address import Address, is_local, parse_address
from chain.gossip.wire.frames import CONTENT_TYPE, encode_frame
from chain.gossip.wire.hello import PROTOCOL_VERSION, PROTOCOL_VERSION_MIN, Hello, decode_hello
from chain.gossip.wire.messages import Bye, Message
from chain.primitives.encoding import DecodeError
from chain.service.http.census import (
    CONNECTIONS_MAX,
    EXEMPT_GROUP,
    Exempt,
    exempt_nobody,
    origin_of,
)
from chain.service.http.guard import GuardLimits
from chain.service.peers.inbox import Inbox
from chain.service.peers.net_lines import log_sent
from chain.service.peers.outbox import Backlog, Outbox
from chain.service.peers.rates import RateLimit
from chain.service.peers.wire import LANE_BYTES_MAX, LINK_HEADER, REQUESTS_MAX, VERSIONS_HEADER

SECRET_BYTES: Final = 16
WRITE_BYTES: Final = 64 * 1024  # one write to a down stream


class Turn:
    """The order of one lane's requests: each number is taken once, and the last may be repeated."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.done = 0


class AcceptedLink:
    """One link, created by `POST /links`."""

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
        self.readable = asyncio.Event()  # cleared while the core has paused reading
        self.readable.set()
        self.is_closed = False
        self.is_streaming = False
        self._replies: dict[Token, asyncio.Queue[bytes]] = {}
        self._unanswered: set[Token] = set()  # of them: their last reply has not come

    def send(self, message: Message, lane: Priority) -> None:
        """Queue a frame for the down stream."""
        frame = encode_frame(message)
        log_sent(self.id, message, len(frame))
        self.outbox.put(frame, lane)

    def begin(self, kind: str) -> bool:
        """Count a request of this kind; False if there are too many."""
        if self._requests[kind] >= REQUESTS_MAX:
            return False
        self._requests[kind] += 1
        return True

    def finish(self, kind: str) -> None:
        """Count a request of this kind as finished."""
        self._requests[kind] -= 1

    def expect(self, token: Token) -> None:
        """Collect what the core replies to a request, until `forget`."""
        self._replies[token] = asyncio.Queue()
        self._unanswered.add(token)

    def reply(self, token: Token, message: Message, *, is_last: bool) -> None:
        """Deliver a part of an answer; dropped if no request waits for it."""
        if token not in self._replies:
            return
        frame = encode_frame(message)
        log_sent(self.id, message, len(frame))
        self.backlog.add(len(frame))
        self._replies[token].put_nowait(frame)
        if is_last:
            self._unanswered.discard(token)
            self._replies[token].put_nowait(b"")

    async def next_reply(self, token: Token) -> bytes:
        """Wait for the next frames of an answer, and return those that are here, joined.

        The last one may exceed WRITE_BYTES. Empty when the answer is complete, or the link closed.
        """
        replies = self._replies[token]
        frames = [await replies.get()]
        size = len(frames[0])
        while frames[-1] and size < WRITE_BYTES and not replies.empty():
            frames.append(replies.get_nowait())
            size += len(frames[-1])
        if size:
            if not frames[-1]:
                replies.put_nowait(frames.pop())  # the end, for the next call
            self.backlog.wrote(frames)
        return b"".join(frames)

    def forget(self, token: Token) -> bool:
        """Stop collecting replies; return whether the core had given the last one."""
        replies = self._replies.pop(token)
        is_answered = token not in self._unanswered
        self._unanswered.discard(token)
        while not replies.empty():
            self.backlog.drop(len(replies.get_nowait()))
        return is_answered

    def pause(self) -> None:
        """Pause reading."""
        self.readable.clear()

    def resume(self) -> None:
        """Resume reading."""
        self.readable.set()

    def close(self, bye: Bye | None) -> None:
        """Send a goodbye if there is one, and stop all traffic."""
        self.outbox.finish(encode_frame(bye) if bye else b"")
        self.is_closed = True
        self.readable.set()
        for replies in self._replies.values():
            replies.put_nowait(b"")


class AcceptedLinks:
    """All accepted links, by number and by secret."""

    def __init__(self) -> None:
        self._by_id: dict[LinkId, AcceptedLink] = {}
        self._by_digest: dict[bytes, AcceptedLink] = {}

    def add(self, link: AcceptedLink) -> None:
        """Add a new link."""
        self._by_id[link.id] = link
        self._by_digest[hashlib.sha256(link.secret).digest()] = link

    def remove(self, link: LinkId) -> AcceptedLink | None:
        """Remove a link and return it; None if it does not exist."""
        found = self._by_id.pop(link, None)
        if found is not None:
            del self._by_digest[hashlib.sha256(found.secret).digest()]
        return found

    def get(self, link: LinkId) -> AcceptedLink | None:
        """Return the link of this number."""
        return self._by_id.get(link)

    def find(self, secret_hex: str) -> AcceptedLink | None:
        """Return the link of this secret; the time taken reveals nothing about other secrets."""
        try:
            secret = bytes.fromhex(secret_hex)
        except ValueError:
            return None
        found = self._by_digest.get(hashlib.sha256(secret).digest())
        return found if found and hmac.compare_digest(found.secret, secret) else None

    def unfinished(self) -> list[AcceptedLink]:
        """Return the links without a down stream yet, oldest first."""
        return [link for link in self._by_id.values() if not link.is_streaming]

    def all(self) -> list[AcceptedLink]:
        """Return all links."""
        return list(self._by_id.values())


RETRY_S: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """Limits on strangers and peers at the peer port."""

    exempt: Exempt = exempt_nobody  # addresses without the next three limits
    hello_per_minute: int = 6  # of one address
    links_per_minute: int = 10
    unfinished_per_address_max: int = 4  # handshakes without a down stream
    unfinished_max: int = 32
    decision_s: float = 10.0  # for the core's decision
    stream_start_s: float = 10.0  # from 201 to the down stream
    hold_s: float = 10.0  # how long a request waits while the core has paused reading
    reply_s: float = 60.0  # for the core to start an answer


class Acceptor:
    """Answers hellos, and opens and ends the links that others dial."""

    def __init__(
        self,
        inbox: Inbox,
        new_link: Callable[[], LinkId],
        hello: Callable[[], Hello],
        limits: ServerLimits,
    ) -> None:
        """Deliver to `inbox`; number links by `new_link`; `hello` returns this node's own hello."""
        self.links = AcceptedLinks()
        self._inbox = inbox
        self._new_link = new_link
        self._hello = hello
        self._limits = limits
        self._hello_rate = RateLimit(limits.hello_per_minute)
        self._links_rate = RateLimit(limits.links_per_minute)
        self._is_stopping = False

    async def get_hello(self, request: Request) -> Response:
        """Return this node's hello."""
        if not self._allows(self._hello_rate, request):
            return plain_response(HTTPStatus.TOO_MANY_REQUESTS, retry_after_s=60)
        return Response(self._hello().encode(), media_type=CONTENT_TYPE)

    async def post_link(self, request: Request) -> Response:
        """Let the core decide on a dialler's hello."""
        if not self._allows(self._links_rate, request):
            return plain_response(HTTPStatus.TOO_MANY_REQUESTS, retry_after_s=60)
        try:
            hello = decode_hello(await request.body())
        except (DecodeError, ClientDisconnect):
            return plain_response(HTTPStatus.BAD_REQUEST)
        # Checked after the body, which may arrive late.
        if self._is_stopping or self._has_too_many(_origin(request)):
            return plain_response(HTTPStatus.SERVICE_UNAVAILABLE, retry_after_s=RETRY_S)
        self._make_room()
        link = self._open(request)
        self._inbox.post(Accepted(link.id, link.remote, hello))
        try:
            decision = await asyncio.wait_for(link.decision, self._limits.decision_s)
        except TimeoutError:
            self.end(link, "the handshake took too long")
            return plain_response(HTTPStatus.SERVICE_UNAVAILABLE, retry_after_s=RETRY_S)
        if isinstance(decision, Refuse):
            return plain_response(HTTPStatus(decision.status), retry_after_s=decision.retry_after_s)
        asyncio.get_running_loop().call_later(
            self._limits.stream_start_s, self._end_unless_streaming, link
        )
        secret = {LINK_HEADER: link.secret.hex()}
        return Response(decision.reply.encode(), 201, headers=secret, media_type=CONTENT_TYPE)

    async def delete_link(self, request: Request) -> Response:
        """Handle a dialler's goodbye."""
        link = self.links.find(request.path_params["link"])
        if link is None:
            return plain_response(HTTPStatus.GONE)
        self.end(link, "said goodbye")
        return plain_response(HTTPStatus.NO_CONTENT)

    def end(self, link: AcceptedLink, why: str) -> None:
        """End a link from the outside and tell the core, unless the core has closed it before."""
        if self.links.remove(link.id) is not None:
            _release(link, None)
            self._inbox.end(link.id, Closed(link.id, why))

    def decide(self, decision: Admit | Refuse) -> None:
        """Carry out the core's decision on an `Accepted`."""
        link = self.links.get(decision.link)
        if link is None:
            return
        if not link.decision.done():
            link.decision.set_result(decision)
        if isinstance(decision, Refuse):
            self.close(link, None)

    def close(self, link: AcceptedLink, bye: Bye | None) -> None:
        """End a link as the core wants it."""
        self.links.remove(link.id)
        self._inbox.drop(link.id)
        _release(link, bye)

    def stop(self, bye: Bye | None) -> None:
        """End all links, pending ones included, and open no more; no request is left waiting."""
        self._is_stopping = True
        for link in self.links.all():
            self.close(link, bye)

    def _open(self, request: Request) -> AcceptedLink:
        assert request.client is not None, "a request over TCP has a client"
        number = self._new_link()
        inbox = self._inbox
        backlog = Backlog(lambda *counts: inbox.post(WriteProgress(number, *counts)), inbox.totals)
        server = request.scope.get("server")  # without a port on a Unix socket
        local = parse_address(*server) if server and server[1] else None
        link = AcceptedLink(number, parse_address(*request.client), backlog, local)
        self.links.add(link)
        self._inbox.open(number)
        return link

    def _allows(self, rate: RateLimit, request: Request) -> bool:
        origin = _origin(request)
        return self._is_exempt(origin) or rate.allows(origin, _now_s())

    def _is_exempt(self, origin: str) -> bool:
        return self._limits.exempt(ip_address(origin))

    def _has_too_many(self, origin: str) -> bool:
        """Return whether an address has as many pending handshakes as it may have."""
        if self._is_exempt(origin):
            return False
        same = [link for link in self.links.unfinished() if origin_of(link.remote.host) == origin]
        return len(same) >= self._limits.unfinished_per_address_max

    def _make_room(self) -> None:
        """End the oldest handshake of the network with the most, if there are too many.

        An honest peer opens its stream within a round trip; a peer that only occupies slots
        displaces others of its own network.
        """
        unfinished = self.links.unfinished()
        if len(unfinished) >= self._limits.unfinished_max:
            groups = [self._group(link.remote) for link in unfinished]
            (group, _), *_ = Counter(groups).most_common(1)
            self.end(unfinished[groups.index(group)], "too many unfinished handshakes")

    def _group(self, remote: Address) -> bytes:
        return EXEMPT_GROUP if self._is_exempt(remote.host) else remote.group

    def _end_unless_streaming(self, link: AcceptedLink) -> None:
        if not link.is_streaming:
            self.end(link, "it never asked for what is sent to it")


def plain_response(status: HTTPStatus, *, retry_after_s: int = 0) -> Response:
    """Return a response without a body."""
    headers = {"retry-after": str(retry_after_s)} if retry_after_s else {}
    if status is HTTPStatus.UPGRADE_REQUIRED:
        headers[VERSIONS_HEADER] = f"{PROTOCOL_VERSION_MIN}-{PROTOCOL_VERSION}"
    return Response(status_code=status, headers=headers)


def _release(link: AcceptedLink, bye: Bye | None) -> None:
    """Close a link, and release a request that waits for the decision on it."""
    if not link.decision.done():
        link.decision.set_result(Refuse(link.id, HTTPStatus.SERVICE_UNAVAILABLE, RETRY_S))
    link.close(bye)


def _origin(request: Request) -> str:
    assert request.client is not None, "a request over TCP has a client"
    return origin_of(request.client.host)


def _now_s() -> float:
    return asyncio.get_running_loop().time()


WRITE_STALL_S: Final = 60.0  # a link may be slow; the core ends those that only pile up
HANDSHAKES_MAX: Final = 100  # connections besides those of the links
_SPARE_CONNECTIONS: Final = 6  # of one IP, for handshakes besides its links


def guard_limits(config: Config) -> GuardLimits:
    """Return a network's limits; those per IP are off where many nodes share one."""
    usual = GuardLimits()
    return GuardLimits(
        body_s=usual.body_s + ServerLimits().hold_s,  # the core may pause reading
        write_stall_s=WRITE_STALL_S,
        connections_max=config.inbound_max * CONNECTIONS_MAX + HANDSHAKES_MAX,
        connections_per_ip_max=config.inbound_per_ip_max * CONNECTIONS_MAX + _SPARE_CONNECTIONS,
        exempt=is_local,
    )


def server_limits(config: Config) -> ServerLimits:
    """Return what suits a network."""
    usual, factor = ServerLimits(), config.rate_factor
    return ServerLimits(
        exempt=is_local,
        hello_per_minute=usual.hello_per_minute * factor,
        links_per_minute=usual.links_per_minute * factor,
        unfinished_per_address_max=(
            usual.unfinished_per_address_max if config.is_public else usual.unfinished_max
        ),
    )
