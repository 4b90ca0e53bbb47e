"""What processes that serve the API share: how they end, listen, and know their users."""

import asyncio
import ipaddress
import signal
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Final

from chain.endpoint import Endpoint
from chain.errors import ShownError
from chain.service.api.access.auth import Logins
from chain.service.http.census import exempt_loopback
from chain.service.http.guard import GuardLimits
from chain.service.supervisor import FATAL
from chain.settings import Settings

PEERS: Final = "peers"  # for whom `listening` is; otherwise for the API
API_LIMITS: Final = GuardLimits(
    connections_per_ip_max=512, exempt=exempt_loopback, takes_bare_lf=True
)


class ProcessError(ShownError):
    """The reason why the node had to stop, in one line."""


class StopRequest:
    """The request to stop: by a signal, by RPC, or by a fatal failure."""

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self.error: BaseException | None = None
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self.requested.set)

    def fail(self, error: BaseException) -> None:
        """Stop the node because of `error`; the first one counts."""
        self.error = self.error or error
        self.requested.set()

    def on_ledger_error(self, error: BaseException) -> None:
        """Handle an error of a call on the ledger thread; only a LedgerError is fatal."""
        if isinstance(error, FATAL):
            self._loop.call_soon_threadsafe(self.fail, error)

    def on_checked(self, checked: Future[None]) -> None:
        """Handle the end of the ledger's check in the background; any error is fatal."""
        error = checked.exception()
        if error is not None:
            self._loop.call_soon_threadsafe(self.fail, error)


@contextmanager
def listening(who: str, endpoint: Endpoint) -> Iterator[None]:
    """If it cannot listen, name the listener and the flag that chooses another place."""
    try:
        yield
    except* OSError as group:
        error = group.exceptions[0]
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        flag = "--p2p" if who == PEERS else "--api"
        raise ProcessError(
            f"cannot listen for {who} on {endpoint}: {error.strerror}; {flag} HOST:PORT chooses "
            "another place"
        ) from error


def allowed_hosts(settings: Settings) -> tuple[str, ...]:
    """Return the accepted Host headers besides the socket's own address.

    The name in `--api` is one of them: the user connects to it.
    """
    try:
        ipaddress.ip_address(settings.api.host)
    except ValueError:
        return (*settings.api_hosts, settings.api.host)
    return settings.api_hosts


def logins_of(settings: Settings, cookie: str | None) -> Logins:
    """Return who may use RPC."""
    return Logins(cookie, settings.rpc_auth)
