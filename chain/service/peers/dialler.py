"""The dialling side's handshake: check the node, send a hello, run the link."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable, Coroutine
from typing import Final

from chain.consensus.params import Params, network_identity
from chain.gossip.actions import Dial, Feeler
from chain.gossip.events import (
    DialFailed,
    DialFailure,
    DialId,
    Dialled,
    FeelerSucceeded,
    LinkId,
)
from chain.gossip.wire.address import Address
from chain.gossip.wire.hello import (
    HELLO_BYTES_MAX,
    PROTOCOL_VERSION,
    PROTOCOL_VERSION_MIN,
    Hello,
    HelloReply,
    decode_hello,
    decode_reply,
)
from chain.primitives.encoding import DecodeError
from chain.printable import printable
from chain.service.http.http_error import ServerError, StatusError
from chain.service.peers.client import Exchange, PeerClient
from chain.service.peers.dialled import GOODBYE_S, DialledLink
from chain.service.peers.inbox import Inbox
from chain.service.peers.net_lines import DialFailureLines
from chain.service.peers.patience import ClientLimits
from chain.service.peers.wire import LINK_HEADER

SECRET_DIGITS: Final = 32

_FAILURES: Final = {
    403: DialFailure.FORBIDDEN,
    409: DialFailure.SELF,
    421: DialFailure.WRONG_NETWORK,
    426: DialFailure.VERSION,
    429: DialFailure.BUSY,
    503: DialFailure.BUSY,
}
_WHY: Final = {  # in the log, where the failure itself says less
    409: "it is this node",
    429: "it takes no more links from this IP for now",
    503: "it takes no links for now",
}


class _MismatchError(Exception):
    """The node is not one that this node can link to; the text says why."""

    def __init__(self, failure: DialFailure, why: str = "") -> None:
        super().__init__(why or str(failure))
        self.failure = failure


class Dialler:
    """Dials addresses for the core, and runs the resulting links."""

    def __init__(
        self,
        inbox: Inbox,
        new_link: Callable[[], LinkId],
        params: Params,
        limits: ClientLimits,
        tasks: asyncio.TaskGroup,
    ) -> None:
        """Deliver to `inbox`; number links by `new_link`; run every dial and link in `tasks`."""
        self.links: dict[LinkId, DialledLink] = {}
        self._inbox = inbox
        self._new_link = new_link
        self._magic = params.magic
        self._identity = network_identity(params)
        self._limits = limits
        self._tasks = tasks
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # peers are http: no certificates
        self._running: set[asyncio.Task[None]] = set()
        self._failures = DialFailureLines()

    def dial(self, action: Dial) -> None:
        """Start dialling; the result is `Dialled` or `DialFailed`."""
        self._start(self._dial(action), f"dial {action.address}")

    def dial_feeler(self, action: Feeler) -> None:
        """Start a feeler connection; the result is `FeelerSucceeded` or `DialFailed`."""
        self._start(self._dial_feeler(action), f"feeler {action.address}")

    async def stop(self) -> None:
        """Wait until closed links have said goodbye, and cancel everything else."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                for link in list(self.links.values()):
                    await link.ended.wait()
        for task in self._running:
            task.cancel()

    def _start(self, job: Coroutine[None, None, None], name: str) -> None:
        task = self._tasks.create_task(job, name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _dial_feeler(self, action: Feeler) -> None:
        client = self._client(action.address)
        try:
            self._inbox.post(FeelerSucceeded(action.dial, await self._get_hello(client)))
        except (ServerError, DecodeError, _MismatchError) as error:
            self._fail(action, error)
        finally:
            await client.close()

    async def _dial(self, action: Dial) -> None:
        client = self._client(action.address)
        link: DialledLink | None = None
        try:
            await self._get_hello(client)
            reply, secret = await self._introduce(client, action.hello)
            async with client.stream(f"/links/{secret}/down") as down:
                link = self._open(client, secret)
                self._inbox.post(Dialled(action.dial, link.id, reply))
                await link.run(down)
        except (ServerError, DecodeError, _MismatchError) as error:
            if link is None:
                self._fail(action, error)
        finally:
            await client.close()
            if link is not None:
                del self.links[link.id]
                link.ended.set()

    async def _get_hello(self, client: PeerClient) -> Hello:
        """Return the node's hello, fetched by a bare GET before anything else is sent."""
        how = Exchange(body_bytes_max=HELLO_BYTES_MAX)
        hello = decode_hello((await client.exchange("GET", "/hello", how)).body)
        if hello.magic != self._magic or hello.identity != self._identity:
            is_namesake = hello.magic == self._magic
            why = "wrong network: its rules or its genesis block differ" if is_namesake else ""
            raise _MismatchError(DialFailure.WRONG_NETWORK, why)
        if hello.version < PROTOCOL_VERSION_MIN or hello.version_min > PROTOCOL_VERSION:
            raise _MismatchError(DialFailure.VERSION)
        return hello

    async def _introduce(self, client: PeerClient, hello: Hello) -> tuple[HelloReply, str]:
        how = Exchange(content=hello.encode(), success=201, body_bytes_max=HELLO_BYTES_MAX)
        answered = await client.exchange("POST", "/links", how)
        secret = answered.headers.get(LINK_HEADER, "")
        if len(secret) != SECRET_DIGITS or not set(secret) <= set("0123456789abcdef"):
            raise DecodeError("no link in the answer")
        return decode_reply(answered.body), secret

    def _open(self, client: PeerClient, secret: str) -> DialledLink:
        link = DialledLink(self._new_link(), client, secret, self._inbox)
        self.links[link.id] = link
        self._inbox.open(link.id)
        return link

    def _fail(self, action: Dial | Feeler, error: Exception) -> None:
        failure = _failure(action.dial, error)
        self._failures.log(action.address, _why(failure.why, error), time.monotonic())
        self._inbox.post(failure)

    def _client(self, address: Address) -> PeerClient:
        return PeerClient(address, self._magic, self._context, self._limits)


def _why(failure: DialFailure, error: Exception) -> str:
    """Return why a dial failed, for the log."""
    if isinstance(error, StatusError) and error.status in _WHY:
        return _WHY[error.status]
    if failure is DialFailure.UNREACHABLE:  # the other words say it all
        return f"{failure} ({printable(str(error))})"
    return str(error) if isinstance(error, _MismatchError) else str(failure)


def _failure(dial: DialId, error: Exception) -> DialFailed:
    if isinstance(error, _MismatchError):
        return DialFailed(dial, error.failure)
    if isinstance(error, StatusError):
        failure = _FAILURES.get(error.status, DialFailure.UNREACHABLE)
        return DialFailed(dial, failure, error.retry_after_s)
    return DialFailed(dial, DialFailure.UNREACHABLE)
