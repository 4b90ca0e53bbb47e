"""A link that we dialled: its down stream, its lanes up, and its requests."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from chain.gossip.actions import Priority
from chain.gossip.blocks.serve import REPLY_BLOCKS_MAX, REPLY_BYTES_MAX
from chain.gossip.events import BadFrame, Closed, LinkId, RequestFinished, WriteProgress
from chain.gossip.wire.frames import FRAME_HEADER_BYTES, FrameDecoder, encode_frame
from chain.gossip.wire.messages import (
    BLOCK_BYTES_MAX,
    Bye,
    Headers,
    Message,
    NotFound,
    Request,
    is_bulk,
)
from chain.primitives.encoding import DecodeError
from chain.service.http.http_error import ServerError, StatusError
from chain.service.peers.client import Exchange, PeerClient, StreamedResponse
from chain.service.peers.inbox import Inbox, slices, split_frames
from chain.service.peers.net_lines import log_sent
from chain.service.peers.outbox import Backlog, Outbox
from chain.service.peers.pipe import Pipe
from chain.service.peers.wire import (
    BULK,
    CONTROL,
    LANE_BYTES_MAX,
    LINK_HEADER,
    PREFIX,
    REQUESTS_MAX,
    SEQ_HEADER,
    request_kind,
)

if TYPE_CHECKING:
    from chain.gossip.wire.address import Address

GOODBYE_S: Final = 2.0
TRIES_MAX: Final = 2  # of a request whose answer was lost
BUSY_TRIES_MAX: Final = 10  # of one that the server refused as too busy
BUSY_PAUSE_S_MAX: Final = 5
_BUSY: Final = (429, 503)
_ANSWER_BYTES_MAX: Final = {
    "headers": FRAME_HEADER_BYTES + Headers.bytes_max,
    "blocks": REPLY_BYTES_MAX  # reached before the last block
    + BLOCK_BYTES_MAX
    + REPLY_BLOCKS_MAX * FRAME_HEADER_BYTES
    + NotFound.bytes_max,
}
_AT_A_TIME: Final = {"headers": 1, "blocks": REQUESTS_MAX}


class _ByeError(Exception):
    """The core closed the link."""


class DialledLink:
    """One link, created by the server's 201."""

    def __init__(self, link: LinkId, client: PeerClient, secret: str, inbox: Inbox) -> None:
        self.id = link
        self.local: Address | None = None  # our address, if the system reports it
        self._client = client
        self._secret = secret
        self._inbox = inbox
        self.backlog = Backlog(
            lambda *counts: inbox.post(WriteProgress(link, *counts)), inbox.totals
        )
        self._outboxes = tuple(Outbox(self.backlog) for _ in LANE_BYTES_MAX)
        self._seqs = [0 for _ in LANE_BYTES_MAX]
        self._pipes = tuple(client.pipe() for _ in LANE_BYTES_MAX)
        self._wanted: dict[str, asyncio.Queue[Request]] = {
            kind: asyncio.Queue() for kind in _ANSWER_BYTES_MAX
        }
        self._readable = asyncio.Event()
        self._readable.set()
        self._closing = asyncio.Event()
        self.ended = asyncio.Event()  # set by the caller that started `run`
        self._bye: Bye | None = None

    def send(self, message: Message, lane: Priority) -> None:
        """Queue a message: as an HTTP request if it asks something, else for a lane up."""
        kind = request_kind(message)
        if kind is not None:
            self._wanted[kind].put_nowait(message)  # type: ignore[arg-type]  # as kind says
        else:
            outbox = BULK if is_bulk(message) else CONTROL
            frame = encode_frame(message)
            log_sent(self.id, message, len(frame))
            self._outboxes[outbox].put(frame, lane)

    def pause(self) -> None:
        """Pause reading."""
        self._readable.clear()

    def resume(self) -> None:
        """Resume reading."""
        self._readable.set()

    def close(self, bye: Bye | None) -> None:
        """Make `run` say goodbye and return."""
        self._bye = bye
        self._closing.set()

    async def run(self, down: StreamedResponse) -> None:
        """Run the link until it ends, and report why to the core unless the core ended it."""
        self.local = down.local
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read(down))
                group.create_task(self._wait_for_close())
                for lane in (CONTROL, BULK):
                    group.create_task(self._write(lane))
                for kind, at_a_time in _AT_A_TIME.items():
                    for _ in range(at_a_time):
                        group.create_task(self._answer(kind))
        except* _ByeError:
            await self._send_bye()
        except* (ServerError, DecodeError) as failed:
            self._inbox.end(self.id, self._close_reason(failed.exceptions[0]))

    def _close_reason(self, error: Exception) -> BadFrame | Closed:
        if isinstance(error, DecodeError) or (isinstance(error, ServerError) and error.is_fault):
            return BadFrame(self.id, str(error))
        return Closed(self.id, str(error))

    async def _wait_for_close(self) -> None:
        await self._closing.wait()
        raise _ByeError

    async def _read(self, down: StreamedResponse) -> None:
        await self._take(down.chunks())
        raise ServerError("it closed the connection")

    async def _take(self, chunks: AsyncIterator[bytes]) -> None:
        """Pass the frames of an answer to the core, at the core's pace."""
        decoder = FrameDecoder(self.backlog.by_type.received)
        unpaid = 0  # bytes of incomplete frames
        async for chunk in chunks:
            for piece in slices(chunk):
                messages = decoder.feed(piece)
                unpaid += len(piece)
                for frames in split_frames(self.id, messages, unpaid):
                    await self._inbox.deliver(self.id, frames, frames.size)
                unpaid = 0 if messages else unpaid
                await self._readable.wait()
        decoder.finish()

    async def _write(self, lane: int) -> None:
        while body := await self._outboxes[lane].take(LANE_BYTES_MAX[lane]):
            self._seqs[lane] += 1
            await self._post(lane, body)

    async def _post(self, lane: int, body: bytes) -> None:
        """Send a batch; thanks to its number it takes effect once, however often it is sent."""
        path = f"{PREFIX}/links/{self._secret}/up/{lane}"
        headers = {SEQ_HEADER: str(self._seqs[lane])}
        timeout_s = self._client.limits.head_within_s(body)
        lost = busy = 0
        while True:
            try:
                await self._pipes[lane].post(path, body, headers, timeout_s)
            except StatusError as error:
                busy += 1
                if error.status not in _BUSY or busy >= BUSY_TRIES_MAX:
                    raise
                await _pause(error)
            except ServerError:
                lost += 1
                if lost >= TRIES_MAX:
                    raise
            else:
                return

    async def _answer(self, kind: str) -> None:
        """Send requests of one kind, one after another; a failed one does not end the link."""
        pipe = self._client.pipe()
        while True:
            message = await self._wanted[kind].get()
            failed = await self._failed(pipe, kind, message)
            await self._inbox.deliver(self.id, RequestFinished(self.id, message, failed), 0)

    async def _failed(self, pipe: Pipe, kind: str, message: Request) -> bool:
        content, headers = encode_frame(message), {LINK_HEADER: self._secret}
        bytes_max = _ANSWER_BYTES_MAX[kind]
        log_sent(self.id, message, len(content))
        for _ in range(BUSY_TRIES_MAX):
            self.backlog.wrote_at_once([content])
            try:
                async with pipe.ask(f"{PREFIX}/{kind}", content, headers, bytes_max) as chunks:
                    await self._take(chunks)
            except StatusError as error:
                if error.status not in _BUSY:
                    return True
                await _pause(error)
            except ServerError as error:
                if error.is_fault:
                    raise
                return True
            else:
                return False
        return True

    async def _send_bye(self) -> None:
        with contextlib.suppress(ServerError, TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                if self._bye is not None:
                    self._seqs[CONTROL] += 1
                    await self._post(CONTROL, encode_frame(self._bye))
                delete_link = Exchange(success=204)
                await self._client.exchange("DELETE", f"/links/{self._secret}", delete_link)


async def _pause(busy: StatusError) -> None:
    await asyncio.sleep(min(max(busy.retry_after_s, 1), BUSY_PAUSE_S_MAX))
