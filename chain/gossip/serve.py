"""Answering what peers ask for: headers and blocks from the ledger, transactions from the pool."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from chain.gossip.actions import Lane, ReadBlock, ReadHeaders, Reply
from chain.gossip.context import CODE_FULL, Context, Link
from chain.gossip.events import BlockRead, HeadersRead, LinkId, Token
from chain.gossip.messages import (
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
from chain.gossip.upload import NEWS_DEPTH, Turns, Upload
from chain.primitives.numbers import Hash32

REPLY_BLOCKS_MAX: Final = 16  # in one HTTP response
REPLY_BYTES_MAX: Final = 8 * 1024 * 1024  # then it stops early; the rest is asked again
QUEUED_BYTES_MAX: Final = 1024 * 1024  # a link that has more to read waits for its next block
QUESTIONS_MAX: Final = 40  # of one link at a time (an asker has 16 blocks open); more are dropped
WAIT_S: Final = 0.1


@dataclass(slots=True)
class _Question:
    """One request for headers, or for blocks that are read one after the other."""

    request: Token | None  # of an HTTP request; None: the answer goes down the link itself
    wanted: deque[Hash32] = field(default_factory=deque)
    sent_bytes: int = 0
    headers: GetHeaders | None = None


class Serving:
    """Answers each link's questions in order, one read at a time."""

    def __init__(self, context: Context, upload: Upload) -> None:
        self._context = context
        self._upload = upload
        self._turns = Turns()
        self._questions: dict[LinkId, deque[_Question]] = {}
        self._reading: dict[Token, Link] = {}
        self._busy: dict[LinkId, Token] = {}

    def opened(self, link: Link) -> None:
        """Note a new link."""
        self._questions[link.id] = deque()

    def closed(self, link: Link) -> None:
        """Forget a link."""
        self._questions.pop(link.id, None)
        token = self._busy.pop(link.id, None)
        if token is not None:
            del self._reading[token]
        self._end_turn(link)

    def headers_wanted(self, link: Link, message: GetHeaders, request: Token | None) -> None:
        """Take a getheaders; `request` names the HTTP request that it came by, if one did."""
        known = map(self._context.chain.get, message.locator)
        first = next((entry for entry in known if entry is not None), None)
        if first is not None:
            link.share(first)
        self._ask(link, _Question(request, headers=message))

    def blocks_wanted(self, link: Link, message: GetData, request: Token | None) -> None:
        """Take a getdata's blocks; its transactions are not our business."""
        wanted = deque(item.id for item in message.items if item.kind == WITNESS_BLOCK)
        if request is not None and len(wanted) > REPLY_BLOCKS_MAX:
            self._context.misbehaved(link, f"asked for {len(wanted)} blocks at once")
        elif wanted:
            self._ask(link, _Question(request, wanted))
        elif request is not None:
            self._answer(link, _Question(request), NotFound(()), is_last=True)

    def block_read(self, read: BlockRead) -> None:
        """Take a block from the ledger, and pass it on."""
        link = self._done(read.token)
        if link is None:
            return
        question = self._questions[link.id][0]
        block_id = question.wanted.popleft()
        message: Message
        if read.raw is None:
            message = NotFound((Inventory(WITNESS_BLOCK, block_id),))
        else:
            message = BlockMessage(read.raw)
            entry = self._context.chain.get(block_id)
            if entry is not None:
                link.share(entry)
            question.sent_bytes += len(read.raw)
        if question.request is not None and question.sent_bytes >= REPLY_BYTES_MAX:
            question.wanted.clear()
        self._answer(link, question, message, is_last=not question.wanted)
        self._next(link)

    def headers_read(self, read: HeadersRead) -> None:
        """Take headers from the ledger, and pass them on."""
        link = self._done(read.token)
        if link is not None:
            question = self._questions[link.id][0]
            question.headers = None
            self._answer(link, question, Headers(read.headers), is_last=True)
            self._next(link)

    def _ask(self, link: Link, question: _Question) -> None:
        questions = self._questions[link.id]
        if len(questions) >= QUESTIONS_MAX:
            self._context.trace("question dropped", link=link.id)
            if question.request is not None:
                self._answer(link, question, NotFound(()), is_last=True)
            return
        questions.append(question)
        self._next(link)

    def _next(self, link: Link) -> None:
        """Read what the first question still needs, unless the link has enough to read."""
        questions = self._questions.get(link.id)
        if not questions or link.id in self._busy:
            return
        question = questions[0]
        if not question.wanted and question.headers is None:
            questions.popleft()
            self._end_turn(link)
            self._next(link)
            return
        if link.queued_bytes > QUEUED_BYTES_MAX:
            self._end_turn(link)  # who reads slowly holds up nobody
            self._context.later(WAIT_S, lambda: self._next(link))
            return
        if question.wanted and not self._may_give(link, question.wanted[0]):
            return
        token = self._context.token()
        self._busy[link.id] = token
        self._reading[token] = link
        if question.headers is not None:
            asked = question.headers
            self._context.emit(ReadHeaders(token, asked.locator, asked.stop, HEADERS_MAX))
        else:
            self._context.emit(ReadBlock(token, question.wanted[0]))

    def _may_give(self, link: Link, block_id: Hash32) -> bool:
        """Tell whether a block may be read for a link now: a new one always, an old one in turn."""
        chain = self._context.chain
        entry = chain.get(block_id)
        if entry is None or entry.height > chain.tip.height - NEWS_DEPTH:
            return True
        if self._upload.refuses(link, entry.header.time):
            why = "wants old blocks, of which enough were sent today"
            self._context.close(link, why, CODE_FULL, self._upload.left_s())
            return False
        return self._turns.take(link)

    def _end_turn(self, link: Link) -> None:
        waiting = self._turns.end(link)
        if waiting in self._context.links:
            self._next(self._context.links[waiting])

    def _done(self, token: Token) -> Link | None:
        link = self._reading.pop(token, None)
        if link is not None:
            del self._busy[link.id]
        return link

    def _answer(self, link: Link, question: _Question, message: Message, *, is_last: bool) -> None:
        if question.request is None:
            self._context.send(link, message, Lane.CONTROL)
        elif link.id in self._context.links:
            self._context.emit(Reply(link.id, question.request, message, is_last))


assert REPLY_BLOCKS_MAX <= INVENTORY_MAX, "what is answered at once can be asked at once"
