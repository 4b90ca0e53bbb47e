"""Flow control of accepted links, in process: no socket, and a core that the test plays."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import httpx

from chain.consensus.params import REGTEST
from chain.gossip.actions import Admit, Refuse
from chain.gossip.events import (
    Accepted,
    Event,
    Frames,
    LinkId,
    RequestAbandoned,
    Requested,
    WriteProgress,
)
from chain.gossip.wire.frames import decode_frames, encode_frame
from chain.gossip.wire.hello import HelloReply
from chain.gossip.wire.messages import (
    WITNESS_BLOCK,
    BlockMessage,
    Bye,
    GetData,
    Inventory,
    Ping,
)
from chain.primitives.numbers import NULL_HASH
from chain.service.peers.acceptor import AcceptedLink, Acceptor, ServerLimits
from chain.service.peers.inbox import LINK_BYTES_MAX, Inbox
from chain.service.peers.server import peer_app
from chain.service.peers.traffic import Traffic
from tests.patience import PATIENCE_S
from tests.peers.stranger import HELLO, PREFIX

LIMITS = ServerLimits(decision_s=0.1, hold_s=0.1, reply_s=0.1)
ASK = encode_frame(GetData((Inventory(WITNESS_BLOCK, NULL_HASH),)))
BLOCK = BlockMessage(bytes(100_000))


@dataclass
class Port:
    """A peer port whose core is the test."""

    inbox: Inbox
    acceptor: Acceptor
    client: httpx.AsyncClient

    async def event(self) -> Event:
        """Return the next event for the core."""
        async with asyncio.timeout(PATIENCE_S):
            while (event := self.inbox.take()) is None:
                await self.inbox.wait()
        return event

    async def link(self) -> AcceptedLink:
        """Dial, admit, and return the link."""
        posting = asyncio.create_task(self.dial())
        accepted = await self.event()
        assert isinstance(accepted, Accepted)
        self.acceptor.decide(Admit(accepted.link, HelloReply(HELLO, accepted.remote, 20)))
        assert (await posting).status_code == 201
        link = self.acceptor.links.get(accepted.link)
        assert link is not None
        return link

    async def dial(self) -> httpx.Response:
        return await self.client.post(f"{PREFIX}/links", content=HELLO.encode())

    async def up(self, link: AcceptedLink, body: bytes, seq: int) -> httpx.Response:
        path = f"{PREFIX}/links/{link.secret.hex()}/up/0"
        return await self.client.post(path, content=body, headers={"groat-seq": str(seq)})

    async def ask(self, link: AcceptedLink) -> httpx.Response:
        headers = {"groat-link": link.secret.hex()}
        return await self.client.post(f"{PREFIX}/blocks", content=ASK, headers=headers)


@asynccontextmanager
async def opened(limits: ServerLimits) -> AsyncIterator[Port]:
    inbox = Inbox()
    numbers = iter(range(1, 100))
    acceptor = Acceptor(inbox, lambda: LinkId(next(numbers)), lambda: HELLO, limits)
    app = peer_app(acceptor, Traffic(acceptor, inbox, limits), REGTEST.magic)
    transport = httpx.ASGITransport(app=app, client=("192.0.2.1", 5))
    headers = {"groat-network": REGTEST.magic.hex()}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://192.0.2.2", headers=headers
    ) as client:
        yield Port(inbox, acceptor, client)


def play(body: Callable[[Port], Awaitable[None]], limits: ServerLimits = LIMITS) -> None:
    async def main() -> None:
        async with opened(limits) as port:
            await body(port)

    asyncio.run(main())


def test_the_core_decides_on_a_handshake() -> None:
    async def body(port: Port) -> None:
        posting = asyncio.create_task(port.dial())
        accepted = await port.event()
        assert accepted == Accepted(LinkId(1), accepted.remote, HELLO)
        assert str(accepted.remote) == "192.0.2.1:5"
        port.acceptor.decide(Refuse(accepted.link, 503, 60))
        answer = await posting
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
        assert port.acceptor.links.all() == []

    play(body)


def test_an_undecided_handshake_ends() -> None:
    async def body(port: Port) -> None:
        answer = await port.dial()
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
        assert port.acceptor.links.all() == []

    play(body)


def test_a_stop_leaves_no_handshake_waiting_and_begins_none() -> None:
    async def body(port: Port) -> None:
        posting = asyncio.create_task(port.dial())
        await port.event()
        port.acceptor.stop(None)
        assert (await posting).status_code == 503
        assert (await port.dial()).status_code == 503
        assert port.acceptor.links.all() == []

    play(body, ServerLimits(decision_s=1e6))


def test_a_decision_on_a_link_that_is_gone_is_nothing() -> None:
    async def body(port: Port) -> None:
        link = await port.link()
        port.acceptor.close(link, None)
        port.acceptor.decide(Refuse(link.id, 503, 60))
        assert port.acceptor.links.all() == []

    play(body)


def test_a_paused_link_is_read_after_it_is_resumed() -> None:
    async def body(port: Port) -> None:
        link = await port.link()
        link.pause()
        sending = asyncio.create_task(port.up(link, encode_frame(Ping(1)), 1))
        await asyncio.sleep(0)
        assert port.inbox.take() is None
        link.resume()
        assert (await sending).status_code == 204
        assert isinstance(await port.event(), Frames)

    play(body, replace(LIMITS, hold_s=5))


def test_a_link_paused_for_long_is_told_to_try_again() -> None:
    async def body(port: Port) -> None:
        link = await port.link()
        link.pause()
        for answer in (await port.up(link, encode_frame(Ping(1)), 1), await port.ask(link)):
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        link.resume()
        assert (await port.up(link, encode_frame(Ping(1)), 1)).status_code == 204

    play(body)


def test_a_batch_waits_until_the_core_has_taken_what_came_before() -> None:
    async def body(port: Port) -> None:
        link = await port.link()
        await port.inbox.deliver(link.id, Frames(link.id, (), 1), LINK_BYTES_MAX)
        sending = asyncio.create_task(port.up(link, encode_frame(Ping(1)), 1))
        done, _ = await asyncio.wait({sending}, timeout=0.05)
        assert not done
        await port.event()
        assert (await sending).status_code == 204

    play(body)


def test_a_batch_for_a_link_that_closes_meanwhile_is_gone() -> None:
    async def body(port: Port) -> None:
        link = await port.link()
        await port.inbox.deliver(link.id, Frames(link.id, (), 1), LINK_BYTES_MAX)
        sending = asyncio.create_task(port.up(link, encode_frame(Ping(1)), 1))
        await asyncio.wait({sending}, timeout=0.05)
        port.acceptor.close(link, Bye(200, 0))
        assert (await sending).status_code == 410

    play(body)


def test_a_request_is_answered_by_what_the_core_replies() -> None:
    async def body(port: Port) -> None:
        link = await port.link()
        asking = asyncio.create_task(port.ask(link))
        asked = await port.event()
        assert isinstance(asked, Requested)
        assert asked.size == len(ASK)
        link.reply(asked.token, BLOCK, is_last=False)
        link.reply(asked.token, BLOCK, is_last=True)
        link.reply(asked.token, BLOCK, is_last=True)  # late, and lost
        assert decode_frames((await asking).content) == [BLOCK, BLOCK]
        progress = [await port.event() for _ in range(2)]
        assert all(isinstance(event, WriteProgress) for event in progress)
        assert link.backlog.queued_bytes == 0, "also what nobody took is accounted for"

    play(body)


def test_the_core_learns_of_a_request_that_ends_before_its_answer() -> None:
    async def body(port: Port) -> None:
        link = await port.link()
        asking = asyncio.create_task(port.ask(link))
        asked = await port.event()
        assert isinstance(asked, Requested)
        asking.cancel()
        assert await port.event() == RequestAbandoned(link.id, asked.token)

    play(body, replace(LIMITS, reply_s=5))


def test_a_request_that_the_core_does_not_answer_ends() -> None:
    async def body(port: Port) -> None:
        link = await port.link()
        assert (await port.ask(link)).status_code == 503
        asked = await port.event()
        assert isinstance(asked, Requested)
        link.reply(asked.token, BLOCK, is_last=True)
        assert link.backlog.queued_bytes == 0

    play(body)


def test_two_requests_of_a_kind_are_under_way_at_most() -> None:
    async def body(port: Port) -> None:
        link = await port.link()
        asking = [asyncio.create_task(port.ask(link)) for _ in range(2)]
        asked = [await port.event() for _ in range(2)]
        assert (await port.ask(link)).status_code == 429
        for event in asked:
            assert isinstance(event, Requested)
            link.reply(event.token, BLOCK, is_last=True)
        assert [(await task).status_code for task in asking] == [200, 200]
        again = asyncio.create_task(port.ask(link))
        while not isinstance(event := await port.event(), Requested):
            pass
        link.reply(event.token, BLOCK, is_last=True)
        assert (await again).status_code == 200

    play(body, replace(LIMITS, reply_s=5))


def test_closing_a_link_ends_its_requests() -> None:
    async def body(port: Port) -> None:
        link = await port.link()
        asking = asyncio.create_task(port.ask(link))
        await port.event()
        port.acceptor.close(link, None)
        assert (await asking).status_code == 410

    play(body, replace(LIMITS, reply_s=5))
