"""Header synchronisation: the best header chain, from every peer, with a minimum of work.

Here headers are only checked to form a chain and to have their own work, which is cheap; the ledger
checks the rest. A chain with less work than our tip had 144 blocks ago never reaches the ledger: it
is cheap to make and would be stored forever (Bitcoin: low-work header spam).
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from chain.consensus.entry import BlockTreeEntry
from chain.consensus.errors import InvalidError, Reason
from chain.consensus.header_run import check_headers_work
from chain.gossip.actions import ConnectionType, Priority, ValidateHeaders
from chain.gossip.context import CODE_TIMEOUT, Context, Link
from chain.gossip.dispatch import Handler, Part, on_event, on_link_event, on_message
from chain.gossip.events import HeadersVerdict, LinkId, RequestFinished, Token
from chain.gossip.wire.messages import HEADERS_MAX, GetHeaders, Headers, Request
from chain.primitives.block import RawHeaders
from chain.primitives.compact import work_from_bits
from chain.primitives.numbers import NULL_HASH, SECOND_US, Hash32

RESPONSE_TIMEOUT_S: Final = 60
SECOND_SYNC_S: Final = 20  # after which headers are requested from a second peer too
RECENT_S: Final = 24 * 3600  # with a best header younger than this, all peers sync at once
LOW_WORK_BLOCKS: Final = 144  # Bitcoin: anti-DoS work threshold
LOW_WORK_HEADERS_MAX: Final = 2 * HEADERS_MAX  # kept of one link until they have enough work
LOW_WORK_LINKS_MAX: Final = 2
ANNOUNCED_HEADERS_MAX: Final = 8  # Bitcoin: MAX_BLOCKS_TO_ANNOUNCE
ANNOUNCEMENTS_MAX: Final = 8  # announcements kept of one link while a request is open
UNCONNECTING_MAX: Final = 10  # Bitcoin: MAX_NUM_UNCONNECTING_HEADERS_MSGS
VALIDATING_MAX: Final = 2  # batches of one link in validation at the same time
AHEAD_S: Final = 1.0  # blocks wait so long for the next full batch of headers ...
AHEAD_S_MAX: Final = 10.0  # ... and so long for all batches of a sync
FAILURES_MAX: Final = 3
RETRY_S: Final = 5

_NO_HEADERS: Final = RawHeaders(b"")

OnProgress = Callable[[Link], None]


@dataclass(slots=True)
class _Batch:
    """Headers in validation."""

    previous: Final[Hash32]  # of the first
    last: Final[Hash32]
    is_full: Final[bool]
    is_next_due: bool  # whether what follows them is to be requested


@dataclass(slots=True)
class _Sync:
    """The state of header synchronisation with one link."""

    requested: GetHeaders | None = None  # the open request
    announced: dict[Hash32, None] = field(default_factory=dict)  # announced since, unconnecting
    unconnecting: int = 0
    failures: int = 0
    validating: dict[Token, _Batch] = field(default_factory=dict)  # in order
    refused: Hash32 | None = None  # the reply that follows this refused header is ignored
    low_work: RawHeaders = _NO_HEADERS


class HeaderSync(Part):
    """Requests headers, and passes those received to the ledger."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.on_progress: list[OnProgress] = []  # called when a link turns out to have a block
        self._syncs: dict[LinkId, _Sync] = {}
        # links to sync with when no other sync is running, or again
        self._wanted: dict[LinkId, None] = {}
        self._validating: dict[Token, Link] = {}
        self._is_second_due = False
        self._ahead_since_us: int | None = None  # when full batches began to come
        self._ahead_until_us = 0

    def handlers(self) -> tuple[Handler, ...]:
        """Handle headers, the end of the requests for them, and the ledger's verdicts."""
        return (
            on_message(Headers, self.headers, expects=self.expects),
            on_link_event(RequestFinished, self.request_finished),
            on_event(HeadersVerdict, self.verdict),
        )

    def opened(self, link: Link) -> None:
        """Request the best chain of a new link, now or when its turn comes."""
        self._syncs[link.id] = _Sync()
        if link.connection_type is not ConnectionType.ADDR_FETCH:
            self._wanted[link.id] = None
        self._start_wanted()

    def closed(self, link: Link) -> None:
        """Forget a link, and continue with another one."""
        sync = self._syncs.pop(link.id, None)
        self._wanted.pop(link.id, None)
        if sync is not None:
            for token in sync.validating:
                self._validating.pop(token, None)
            self._start_wanted()

    @property
    def is_ahead(self) -> bool:
        """Whether the headers of a first sync come fast: blocks wait for them, for a short time.

        Otherwise they would wait for blocks at the ledger, and other peers for their turn.
        """
        return self._context.now.mono_us < self._ahead_until_us

    def _note_batch(self, *, is_full: bool) -> None:
        now_us = self._context.now.mono_us
        if not is_full:
            self._ahead_since_us, self._ahead_until_us = None, 0
            return
        if self._ahead_since_us is None:
            self._ahead_since_us = now_us
        last_us = self._ahead_since_us + int(AHEAD_S_MAX * SECOND_US)
        self._ahead_until_us = min(now_us + int(AHEAD_S * SECOND_US), last_us)

    def expects(self, link: Link, _: Headers) -> bool:
        """Return whether headers from this link are a reply to our request."""
        sync = self._syncs[link.id]
        return sync.requested is not None or sync.refused is not None

    def request(self, link: Link, after: Sequence[Hash32] = ()) -> None:
        """Request headers after our best one or the ids in `after`; one request per link."""
        sync = self._syncs[link.id]
        if sync.requested:
            self._wanted[link.id] = None
            return
        best = self._context.chain.best_header
        # Starting at the parent makes a peer with the same chain show that it has it.
        locator = tuple(after) or tuple((best.parent or best).locator())
        self._wanted.pop(link.id, None)
        sync.requested = request = GetHeaders(locator, NULL_HASH)
        self._context.send(link, request, Priority.CONTROL)
        self._context.call_later(RESPONSE_TIMEOUT_S, lambda: self._expire(link, request))

    def request_finished(self, link: Link, event: RequestFinished) -> None:
        """Record that an HTTP request ended, if it carried our getheaders."""
        sync = self._syncs[link.id]
        if sync.requested is not event.message:
            self._expect_no_reply(sync, event.message)
            return
        sync.requested = None
        sync.failures += 1
        if not event.failed or sync.failures > FAILURES_MAX:
            self._context.close(link, "did not answer getheaders", CODE_TIMEOUT)
            return
        self._wanted[link.id] = None
        self._context.call_later(RETRY_S, lambda: self._retry(link))

    def pause(self, link: Link) -> None:
        """Repeat the request later if headers are too new: our clock may be slow."""
        if link.id in self._syncs:
            self._wanted[link.id] = None
            self._context.call_later(RETRY_S, lambda: self._retry(link))

    def headers(self, link: Link, message: Headers) -> None:
        """Handle headers: a reply to our request, or an announcement."""
        sync = self._syncs[link.id]
        headers = RawHeaders.of(message.headers)
        if not headers:
            sync.requested = None
            self._note_batch(is_full=False)
            self._finished(link)
            return
        why = self._fault(headers)
        if why:
            self._context.misbehaved(link, why)
            return
        previous = headers[0].previous
        if previous == sync.refused:
            sync.refused = None
            return
        if sync.low_work and previous == sync.low_work.ids[-1]:
            headers = sync.low_work.then(headers)
            previous = headers[0].previous
        sync.low_work = _NO_HEADERS
        is_full = len(message.headers) == HEADERS_MAX
        before = next(reversed(sync.validating.values()), None)
        is_next = before is not None and previous == before.last
        parent = None if is_next else self._context.chain.get(previous)
        if not is_next and parent is None:
            self._unconnecting(link, sync, headers)
            return
        sync.failures = 0
        sync.requested = None
        if parent is None:
            self._validate(link, headers, is_full=is_full)
        else:
            self._connecting(link, parent, headers, is_full=is_full)

    def verdict(self, verdict: HeadersVerdict) -> None:
        """Handle the ledger's verdict on a batch."""
        link = self._validating.pop(verdict.token, None)
        if link is None:
            return
        sync = self._syncs[link.id]
        batch = sync.validating.pop(verdict.token)
        last = None if verdict.last is None else self._context.chain.get(verdict.last)
        if last is not None:
            link.update_best_known(last)
        if verdict.error is not None:
            self._forget_following(sync, batch)
            self._refused(link, verdict.error)
        elif not self._request_next(link, sync, batch):
            is_over = not sync.requested and not sync.validating
            if is_over or not batch.is_full:
                self._finished(link)
        if last is not None:
            self._report_progress(link)

    def _request_next(self, link: Link, sync: _Sync, batch: _Batch) -> bool:
        """Request what follows the newest headers in validation, or `batch`, if that is due.

        So the next headers are on their way while the ledger is busy with these.
        """
        newest = next(reversed(sync.validating.values()), batch)
        if not newest.is_next_due or sync.requested or len(sync.validating) >= VALIDATING_MAX:
            return False
        newest.is_next_due = False
        self.request(link, (newest.last, *self._context.chain.best_header.locator()))
        return True

    def _forget_following(self, sync: _Sync, refused: _Batch) -> None:
        """Ignore what follows refused headers: verdicts, and the reply to the open request.

        It is missing a parent, which is not the peer's fault if the headers are only too new.
        """
        last = refused.last
        for token, batch in list(sync.validating.items()):
            if batch.previous == last:
                del sync.validating[token], self._validating[token]
                last = batch.last
        if sync.requested is not None and sync.requested.locator[0] == last:
            sync.requested, sync.refused = None, last

    def _report_progress(self, link: Link) -> None:
        for callback in self.on_progress:
            callback(link)

    def _fault(self, headers: RawHeaders) -> str:
        """Return what is wrong with the headers without their context; empty: nothing."""
        if not headers.is_chain:
            return "headers that do not form a chain"
        try:
            check_headers_work(headers, self._context.config.params)
        except InvalidError as error:
            return str(error)
        return ""

    def _unconnecting(self, link: Link, sync: _Sync, headers: RawHeaders) -> None:
        """Request the headers before one with an unknown parent, a limited number of times.

        An announcement that arrives while a request is open or pending does not count towards that
        limit: an honest peer announces each new block while it still sends the earlier ones. The
        announcement may have overtaken a reply made before that block existed, so it is compared
        with that reply.
        """
        is_sync_due = sync.requested is not None or link.id in self._wanted
        if is_sync_due and len(headers) <= ANNOUNCED_HEADERS_MAX:
            sync.announced[headers.ids[-1]] = None
            if len(sync.announced) > ANNOUNCEMENTS_MAX:
                del sync.announced[next(iter(sync.announced))]
            self._start_wanted()
            return
        sync.requested = None
        self._request_between(link, sync)

    def _request_between(self, link: Link, sync: _Sync) -> None:
        sync.unconnecting += 1
        if sync.unconnecting > UNCONNECTING_MAX:
            self._context.close(link, "headers that do not connect")
            return
        self._wanted[link.id] = None
        self._start_wanted()

    def _connecting(
        self, link: Link, parent: BlockTreeEntry, headers: RawHeaders, *, is_full: bool
    ) -> None:
        chain, ids = self._context.chain, headers.ids
        # What builds on an unknown header is unknown.
        known = bisect_left(ids, 1, key=lambda block_id: int(chain.get(block_id) is None))
        last = (chain.get(ids[known - 1]) if known else None) or parent
        if known:
            link.update_best_known(last)
            self._report_progress(link)
        fresh = headers[known:]
        if not fresh:
            if is_full:
                self.request(link, last.locator())
            else:
                self._finished(link)
        elif last.chain_work + _work(fresh) < self.work_min():
            self._keep_low_work(link, fresh, is_full=is_full)
        else:
            self._validate(link, fresh, is_full=is_full)

    def _keep_low_work(self, link: Link, fresh: RawHeaders, *, is_full: bool) -> None:
        """Keep headers with too little work so far, up to a limit: more may follow."""
        keeping = sum(bool(sync.low_work) for sync in self._syncs.values())
        fits = len(fresh) < LOW_WORK_HEADERS_MAX and keeping < LOW_WORK_LINKS_MAX
        if is_full and fits:
            self._syncs[link.id].low_work = fresh
            self.request(link, [fresh.ids[-1]])
        else:
            self._context.trace("low-work headers", link=link.id, count=len(fresh))
            self._start_wanted()

    def _validate(self, link: Link, fresh: RawHeaders, *, is_full: bool) -> None:
        sync = self._syncs[link.id]
        if len(sync.validating) >= VALIDATING_MAX:
            self._wanted[link.id] = None  # requested again when the ledger has caught up
            return
        sync.unconnecting = 0  # the peer made progress
        self._note_batch(is_full=is_full)
        token = self._context.token()
        batch = _Batch(fresh[0].previous, fresh.ids[-1], is_full, is_next_due=is_full)
        sync.validating[token] = batch
        self._validating[token] = link
        self._context.emit(ValidateHeaders(token, fresh))
        self._request_next(link, sync, batch)

    def _refused(self, link: Link, error: InvalidError) -> None:
        if error.reason is Reason.TIME_TOO_NEW:
            self.pause(link)
        elif error.reason.is_from_parent or error.reason.is_temporary:
            self._context.close(link, f"follows a chain that is invalid here: {error}")
        else:
            self._context.misbehaved(link, str(error))

    def _finished(self, link: Link) -> None:
        """End a sync, and start the pending ones; repeat this one if the link announced more."""
        sync = self._syncs[link.id]
        announced, sync.announced = sync.announced, {}
        if any(self._context.chain.get(block_id) is None for block_id in announced):
            self._request_between(link, sync)
        else:
            sync.unconnecting = 0
            self._start_wanted()

    def _start_wanted(self) -> None:
        """Sync with the pending links: all or, while we are far behind, one at a time."""
        if not self._wanted:
            return
        context = self._context
        behind = context.now.unix_s - context.chain.best_header.header.time > RECENT_S
        if not behind:
            for link in self._pending():
                self._retry(link)
        elif not self._is_syncing():
            self._start_next()

    def _start_next(self) -> None:
        """Sync with the link that has been pending longest, an outbound one if there is any."""
        pending = sorted(self._pending(), key=lambda link: not link.is_outbound)
        if pending:
            self._retry(pending[0])
            if not self._is_second_due:
                self._is_second_due = True
                self._context.call_later(SECOND_SYNC_S, self._start_second)

    def _start_second(self) -> None:
        """Sync with a second peer too if the first one takes long."""
        self._is_second_due = False
        if self._is_syncing():
            self._start_next()

    def _pending(self) -> list[Link]:
        """Return the pending links without an open request, longest pending first."""
        links = self._context.links
        pending = ((links[key], self._syncs[key]) for key in self._wanted if key in links)
        return [link for link, sync in pending if not sync.requested and not sync.validating]

    def _is_syncing(self) -> bool:
        return any(sync.requested or sync.validating for sync in self._syncs.values())

    def _retry(self, link: Link) -> None:
        sync = self._syncs.get(link.id)
        is_wanted = sync is not None and link.id in self._wanted
        if sync is not None and is_wanted and not sync.requested and not sync.validating:
            self.request(link)

    def _expire(self, link: Link, request: GetHeaders) -> None:
        sync = self._syncs.get(link.id)
        if sync is not None and sync.requested is request:
            self._context.close(link, "did not answer getheaders in time", CODE_TIMEOUT)
        elif sync is not None:
            self._expect_no_reply(sync, request)

    def _expect_no_reply(self, sync: _Sync, request: Request) -> None:
        """Expect no longer the reply that would be ignored."""
        if isinstance(request, GetHeaders) and request.locator[0] == sync.refused:
            sync.refused = None

    def work_min(self) -> int:
        """Return the minimum work of a chain that is passed to the ledger (Bitcoin: anti-DoS)."""
        tip = self._context.chain.tip
        recent = tip.chain_work - LOW_WORK_BLOCKS * work_from_bits(tip.header.bits)
        return max(recent, self._context.config.chain_work_min)


def _work(headers: RawHeaders) -> int:
    return sum(work_from_bits(bits) for _, _, bits in headers.columns())
