"""The accepting side's handshake, and the life of the links that come of it."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from chain.gossip.actions import Admit, Refuse
from chain.gossip.address import parse_address
from chain.gossip.events import Accepted, Closed, LinkId, WriteProgress
from chain.gossip.frames import CONTENT_TYPE
from chain.gossip.hello import PROTOCOL_VERSION, PROTOCOL_VERSION_MIN, Hello, decode_hello
from chain.gossip.messages import Bye
from chain.primitives.encoding import DecodeError
from chain.service.peers.accepted import AcceptedLink, AcceptedLinks
from chain.service.peers.census import origin_of
from chain.service.peers.inbox import Inbox
from chain.service.peers.outbox import Backlog
from chain.service.peers.rates import RateLimit
from chain.service.peers.wire import LINK_HEADER, VERSIONS_HEADER

RETRY_S: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """What strangers and peers may ask of the peer port."""

    hello_per_minute: int = 6  # of one address
    links_per_minute: int = 10
    unfinished_per_address_max: int = 4  # handshakes without a down stream
    unfinished_max: int = 32
    decision_s: float = 10.0  # for the core to admit or refuse
    stream_start_s: float = 10.0  # from 201 to the down stream
    hold_s: float = 10.0  # how long a request waits while the core wants nothing read
    reply_s: float = 60.0  # for the core to begin an answer


class Acceptor:
    """Answers hellos, and opens and ends the links that others dial."""

    def __init__(
        self,
        inbox: Inbox,
        new_link: Callable[[], LinkId],
        hello: Callable[[], Hello],
        limits: ServerLimits,
    ) -> None:
        """Deliver to `inbox`; number links by `new_link`; say of ourselves what `hello` says."""
        self.links = AcceptedLinks()
        self._inbox = inbox
        self._new_link = new_link
        self._hello = hello
        self._limits = limits
        self._hello_rate = RateLimit(limits.hello_per_minute)
        self._links_rate = RateLimit(limits.links_per_minute)
        self._is_stopping = False

    async def get_hello(self, request: Request) -> Response:
        """Say who we are."""
        if not self._hello_rate.allows(_origin(request), _now_s()):
            return bare(HTTPStatus.TOO_MANY_REQUESTS, retry_after_s=60)
        return Response(self._hello().encode(), media_type=CONTENT_TYPE)

    async def post_link(self, request: Request) -> Response:
        """Let the core decide on a dialler's hello."""
        if not self._links_rate.allows(_origin(request), _now_s()):
            return bare(HTTPStatus.TOO_MANY_REQUESTS, retry_after_s=60)
        try:
            hello = decode_hello(await request.body())
        except (DecodeError, ClientDisconnect):
            return bare(HTTPStatus.BAD_REQUEST)
        # Asked after the body, which may come as late as it likes.
        if self._is_stopping or self._has_too_many(_origin(request)):
            return bare(HTTPStatus.SERVICE_UNAVAILABLE, retry_after_s=RETRY_S)
        self._make_room()
        link = self._open(request)
        self._inbox.post(Accepted(link.id, link.remote, hello))
        try:
            decision = await asyncio.wait_for(link.decision, self._limits.decision_s)
        except TimeoutError:
            self.end(link, "undecided")
            return bare(HTTPStatus.SERVICE_UNAVAILABLE, retry_after_s=RETRY_S)
        if isinstance(decision, Refuse):
            return bare(HTTPStatus(decision.status), retry_after_s=decision.retry_after_s)
        asyncio.get_running_loop().call_later(
            self._limits.stream_start_s, self._end_unless_streaming, link
        )
        secret = {LINK_HEADER: link.secret.hex()}
        return Response(decision.reply.encode(), 201, headers=secret, media_type=CONTENT_TYPE)

    async def delete_link(self, request: Request) -> Response:
        """Take a dialler's goodbye."""
        link = self.links.find(request.path_params["link"])
        if link is None:
            return bare(HTTPStatus.GONE)
        self.end(link, "said goodbye")
        return bare(HTTPStatus.NO_CONTENT)

    def end(self, link: AcceptedLink, why: str) -> None:
        """End a link from the outside and tell the core, unless the core has closed it before."""
        if self.links.remove(link.id) is not None:
            _release(link, None)
            self._inbox.end(link.id, Closed(link.id, why))

    def decide(self, decision: Admit | Refuse) -> None:
        """Carry out what the core decided on an `Accepted`."""
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
        """End all links, decided on or not, and open none any more: no request is left waiting."""
        self._is_stopping = True
        for link in self.links.all():
            self.close(link, bye)

    def _open(self, request: Request) -> AcceptedLink:
        assert request.client is not None, "a request over TCP has a client"
        number = self._new_link()
        inbox = self._inbox
        backlog = Backlog(lambda *counts: inbox.post(WriteProgress(number, *counts)), inbox.tally)
        server = request.scope.get("server")  # without a port on a Unix socket
        local = parse_address(*server) if server and server[1] else None
        link = AcceptedLink(number, parse_address(*request.client), backlog, local)
        self.links.add(link)
        self._inbox.open(number)
        return link

    def _has_too_many(self, origin: str) -> bool:
        """Tell whether so many handshakes from one address go on that it gets no other."""
        same = [link for link in self.links.unfinished() if origin_of(link.remote.host) == origin]
        return len(same) >= self._limits.unfinished_per_address_max

    def _make_room(self) -> None:
        """End the oldest handshake of the network that has most, if there are too many in all.

        Who means it opens his stream within a round trip; who only holds places makes others of
        his own network lose theirs.
        """
        unfinished = self.links.unfinished()
        if len(unfinished) >= self._limits.unfinished_max:
            counts = Counter(link.remote.group for link in unfinished)
            (group, _), *_ = counts.most_common(1)
            self.end(next(link for link in unfinished if link.remote.group == group), "displaced")

    def _end_unless_streaming(self, link: AcceptedLink) -> None:
        if not link.is_streaming:
            self.end(link, "no down stream")


def bare(status: HTTPStatus, *, retry_after_s: int = 0) -> Response:
    """Return a response without a body."""
    headers = {"retry-after": str(retry_after_s)} if retry_after_s else {}
    if status is HTTPStatus.UPGRADE_REQUIRED:
        headers[VERSIONS_HEADER] = f"{PROTOCOL_VERSION_MIN}-{PROTOCOL_VERSION}"
    return Response(status_code=status, headers=headers)


def _release(link: AcceptedLink, bye: Bye | None) -> None:
    """Close a link, and let go of a request that waits for the decision on it."""
    if not link.decision.done():
        link.decision.set_result(Refuse(link.id, HTTPStatus.SERVICE_UNAVAILABLE, RETRY_S))
    link.close(bye)


def _origin(request: Request) -> str:
    assert request.client is not None, "a request over TCP has a client"
    return origin_of(request.client.host)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
