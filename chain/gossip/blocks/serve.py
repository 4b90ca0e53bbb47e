"""Serving requests: headers and blocks from the ledger, transactions from the pool.

Blocks are read in runs: as many of a request's next blocks at a time as fit into RUN_BYTES_MAX.
"""

from collections import deque
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import Final

from chain.consensus.entry import BlockTreeEntry
from chain.gossip.actions import Priority, ReadBlocks, ReadHeaders, Reply
from chain.gossip.blocks.upload import RECENT_DEPTH, Turns, Upload
from chain.gossip.context import CODE_FULL, Context, Link
from chain.gossip.dispatch import Handler, Part, on_event, on_link_event, on_message
from chain.gossip.events import (
    BlocksRead,
    HeadersRead,
    LinkId,
    RequestAbandoned,
    Requested,
    Token,
)
from chain.gossip.wire.messages import (
    HEADERS_MAX,
    INVENTORY_MAX,
    WITNESS_BLOCK,
    BlockMessage,
    GetData,
    GetHeaders,
    Headers,
    Inventory,
    Message,
    NotFound,
)
from chain.primitives.numbers import Hash32, counted

REPLY_BLOCKS_MAX: Final = 500  # in one HTTP response
REPLY_BYTES_MAX: Final = 8 * 1024 * 1024  # over this, stop early; the peer requests the rest again
RUN_BYTES_MAX: Final = 256 * 1024  # read at a time; one block may exceed it
QUEUED_BYTES_MAX: Final = 1024 * 1024  # with more unread bytes, a link waits for its next block
REQUESTS_MAX: Final = 40  # of one link (a requester has two open); more are dropped
WAIT_S: Final = 0.1


@dataclass(slots=True)
class _Request:
    """One request for headers, or for blocks that are read run by run."""

    http_request: Token | None  # of an HTTP request; None: reply on the link itself
    wanted: deque[Hash32] = field(default_factory=deque)
    sent_bytes: int = 0
    headers: GetHeaders | None = None


class Serving(Part):
    """Serves each link's requests in order, one read at a time."""

    def __init__(self, context: Context, upload: Upload) -> None:
        self._context = context
        self._upload = upload
        self._turns = Turns()
        self._requests: dict[LinkId, deque[_Request]] = {}
        self._reading: dict[Token, Link] = {}
        self._busy: dict[LinkId, Token] = {}
        self._delayed: set[LinkId] = set()  # until fewer bytes are unread

    def handlers(self) -> tuple[Handler, ...]:
        """Handle requests for headers and blocks, and what the ledger read for them."""
        return (
            on_message(GetHeaders, self.serve_headers),
            on_message(GetData, self.serve_blocks),
            on_link_event(Requested, self.requested),
            on_link_event(RequestAbandoned, self.abandoned),
            on_event(BlocksRead, self.blocks_read),
            on_event(HeadersRead, self.headers_read),
        )

    def opened(self, link: Link) -> None:
        """Note a new link."""
        self._requests[link.id] = deque()

    def closed(self, link: Link) -> None:
        """Forget a link."""
        self._requests.pop(link.id, None)
        token = self._busy.pop(link.id, None)
        if token is not None:
            del self._reading[token]
        self._end_turn(link)

    def requested(self, link: Link, event: Requested) -> None:
        """Serve a request that came as an HTTP request."""
        if isinstance(event.message, GetHeaders):
            self.serve_headers(link, event.message, event.token)
        else:
            self.serve_blocks(link, event.message, event.token)

    def abandoned(self, link: Link, event: RequestAbandoned) -> None:
        """Read no more for an HTTP request that has ended."""
        requests = self._requests[link.id]
        for request in list(requests):
            if request.http_request != event.token:
                continue
            request.wanted.clear()
            request.headers = None
            if request is not requests[0]:  # which may be in reading, or have a turn
                requests.remove(request)
        self._continue(link)

    def serve_headers(
        self, link: Link, message: GetHeaders, http_request: Token | None = None
    ) -> None:
        """Serve a getheaders; `http_request` is the token of its HTTP request, if it has one."""
        known = map(self._context.chain.get, message.locator)
        first = next((entry for entry in known if entry is not None), None)
        if first is not None:
            link.share(first)
        self._enqueue(link, _Request(http_request, headers=message))

    def serve_blocks(self, link: Link, message: GetData, http_request: Token | None = None) -> None:
        """Serve the blocks of a getdata; transactions are served elsewhere."""
        wanted = deque(item.id for item in message.items if item.kind == WITNESS_BLOCK)
        if http_request is not None and len(wanted) > REPLY_BLOCKS_MAX:
            self._context.misbehaved(link, f"requested {counted(len(wanted), 'block')} at once")
        elif wanted:
            self._enqueue(link, _Request(http_request, wanted))
        elif http_request is not None:
            self._reply(link, _Request(http_request), NotFound(()), is_last=True)

    def blocks_read(self, read: BlocksRead) -> None:
        """Send the blocks that the ledger read."""
        link = self._finish_read(read.token)
        if link is None:
            return
        request = self._requests[link.id][0]
        last_sent: Hash32 | None = None
        for raw in read.raws if request.wanted else ():  # none if it was abandoned meanwhile
            block_id = request.wanted.popleft()
            if raw is not None:
                last_sent = block_id
            request.sent_bytes += len(raw or b"")
            if request.http_request is not None and request.sent_bytes >= REPLY_BYTES_MAX:
                request.wanted.clear()
            missing = NotFound((Inventory(WITNESS_BLOCK, block_id),))
            message = missing if raw is None else BlockMessage(raw)
            self._reply(link, request, message, is_last=not request.wanted)
            if not request.wanted:
                break
        entry = None if last_sent is None else self._context.chain.get(last_sent)
        if entry is not None:
            link.share(entry)
        self._continue(link)

    def headers_read(self, read: HeadersRead) -> None:
        """Send headers that the ledger read."""
        link = self._finish_read(read.token)
        if link is not None:
            request = self._requests[link.id][0]
            request.headers = None
            self._reply(link, request, Headers(read.headers), is_last=True)
            self._continue(link)

    def _enqueue(self, link: Link, request: _Request) -> None:
        requests = self._requests[link.id]
        if len(requests) >= REQUESTS_MAX:
            self._context.trace("question dropped", link=link.id)
            if request.http_request is not None:
                self._reply(link, request, NotFound(()), is_last=True)
            return
        requests.append(request)
        self._continue(link)

    def _continue(self, link: Link) -> None:
        """Read what the first request still needs, unless the link has enough unread bytes."""
        requests = self._requests.get(link.id)
        if not requests or link.id in self._busy:
            return
        request = requests[0]
        if not request.wanted and request.headers is None:
            requests.popleft()
            self._end_turn(link)
            self._continue(link)
            return
        if link.queued_bytes > QUEUED_BYTES_MAX:
            self._end_turn(link)  # so that a slow reader delays nobody else
            if link.id not in self._delayed:
                self._delayed.add(link.id)
                self._context.call_later(WAIT_S, lambda: self._waited(link))
            return
        if self._reply_missing(link, request):
            self._continue(link)
            return
        if request.wanted and not self._may_serve(link, request.wanted[0]):
            return
        token = self._context.token()
        self._busy[link.id] = token
        self._reading[token] = link
        if request.headers is not None:
            requested = request.headers
            self._context.emit(ReadHeaders(token, requested.locator, requested.stop, HEADERS_MAX))
        else:
            self._context.emit(ReadBlocks(token, self._next_run(link, request), RUN_BYTES_MAX))

    def _waited(self, link: Link) -> None:
        self._delayed.discard(link.id)
        self._continue(link)

    def _reply_missing(self, link: Link, request: _Request) -> bool:
        """Reply for all blocks that are not stored, if the next one is not: no ledger is asked.

        Between two of them the ledger would be asked for each block that is stored, one by one.
        """
        if not request.wanted or self._has(request.wanted[0]):
            return False
        stored: deque[Hash32] = deque()
        missing: list[Inventory] = []
        for block_id in request.wanted:  # once: a block may be stored meanwhile, on another thread
            if self._has(block_id):
                stored.append(block_id)
            else:
                missing.append(Inventory(WITNESS_BLOCK, block_id))
        request.wanted = stored
        self._reply(link, request, NotFound(tuple(missing)), is_last=not stored)
        return True

    def _has(self, block_id: Hash32) -> bool:
        return self._context.chain.has_block(block_id)

    def _next_run(self, link: Link, request: _Request) -> tuple[Hash32, ...]:
        """Return the blocks that may be read for a link now, of which the first one may."""
        wanted = request.wanted
        following = takewhile(self._has, islice(wanted, 1, REPLY_BLOCKS_MAX))
        if not self._turns.has(link) or self._upload.is_limited:
            following = takewhile(lambda block_id: self._may_follow(link, block_id), following)
        return (wanted[0], *following)

    def _may_follow(self, link: Link, block_id: Hash32) -> bool:
        """Return whether a block may be read as it is, without a new turn or the link's end."""
        entry = self._context.chain.get(block_id)
        if entry is None or not self._is_old(entry):
            return True
        return self._turns.has(link) and not self._upload.refuses(link, entry.header.time)

    def _is_old(self, entry: BlockTreeEntry) -> bool:
        return entry.height <= self._context.chain.tip.height - RECENT_DEPTH

    def _may_serve(self, link: Link, block_id: Hash32) -> bool:
        """Return whether a block may be read for a link now; old blocks need a turn."""
        entry = self._context.chain.get(block_id)
        if entry is None or not self._is_old(entry):
            return True
        if self._upload.refuses(link, entry.header.time):
            why = "requests historical blocks, and the daily upload limit is reached"
            self._context.close(link, why, CODE_FULL, self._upload.left_s())
            return False
        return self._turns.take(link)

    def _end_turn(self, link: Link) -> None:
        next_link = self._turns.end(link)
        if next_link in self._context.links:
            self._continue(self._context.links[next_link])

    def _finish_read(self, token: Token) -> Link | None:
        link = self._reading.pop(token, None)
        if link is not None:
            del self._busy[link.id]
        return link

    def _reply(self, link: Link, request: _Request, message: Message, *, is_last: bool) -> None:
        if request.http_request is None:
            self._context.send(link, message, Priority.CONTROL)
        elif link.id in self._context.links:
            self._context.emit(Reply(link.id, request.http_request, message, is_last))


assert REPLY_BLOCKS_MAX <= INVENTORY_MAX, "a full reply fits in one request"
