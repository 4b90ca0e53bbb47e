"""A check at start that the installed uvicorn still calls the methods that the guard overrides."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from chain.service.http.guard import GuardLimits, GuardProtocol, guarded

UVICORN_VERSION: Final = "0.54."  # the internals overridden are those of this minor version
_ANSWER_TIMEOUT_S: Final = 5.0
_CALLED: Final = (
    "connection_made",
    "data_received",
    "on_message_begin",
    "on_header",
    "on_headers_complete",
    "on_body",
    "on_message_complete",
    "on_response_complete",
    "send_400_response",
    "connection_lost",
)
_TIMED: Final = ("timeout_keep_alive_handler", "pause_writing", "resume_writing")
_REQUEST: Final = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx"


class GuardError(RuntimeError):
    """The installed uvicorn's internals are not those that the guard overrides."""


async def check_guard() -> None:
    """Feed one good and one bad request to a guarded protocol in memory, and see every hook run.

    Raises GuardError: a version other than the pinned one, or a hook that is no longer called.
    """
    if not uvicorn.__version__.startswith(UVICORN_VERSION):
        raise GuardError(f"uvicorn {uvicorn.__version__} instead of {UVICORN_VERSION}x")
    missing = [name for name in (*_CALLED, *_TIMED) if not hasattr(HttpToolsProtocol, name)]
    if missing:
        raise GuardError(f"uvicorn's protocol lacks {', '.join(missing)}")
    calls: set[str] = set()
    answered = asyncio.Event()
    protocol = _recording(calls, answered)
    protocol.connection_made(_Memory())
    protocol.data_received(_REQUEST)
    try:
        await asyncio.wait_for(answered.wait(), _ANSWER_TIMEOUT_S)
    except TimeoutError:
        raise GuardError("uvicorn did not report the end of the answer") from None
    if protocol.timeout_keep_alive_task is None:
        raise GuardError("uvicorn armed no idle timer")
    protocol.data_received(b"\x00")
    protocol.connection_lost(None)
    silent = [name for name in _CALLED if name not in calls]
    if silent:
        raise GuardError(f"uvicorn did not call {', '.join(silent)}")


def _recording(calls: set[str], answered: asyncio.Event) -> GuardProtocol:
    base = guarded(GuardLimits())

    def recorded(name: str) -> Callable[..., Any]:
        def hook(self: GuardProtocol, *args: object) -> object:
            calls.add(name)
            result = getattr(super(probe, self), name)(*args)
            if name == "on_response_complete":
                answered.set()
            return result

        return hook

    probe: type[GuardProtocol] = type("Probe", (base,), {name: recorded(name) for name in _CALLED})
    config = uvicorn.Config(
        _answer, ws="none", lifespan="off", log_config=None, log_level="critical"
    )
    return probe(config=config, server_state=ServerState(), app_state={})


async def _answer(_scope: object, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


class _Memory(asyncio.Transport):
    """A transport that discards what is written."""

    def __init__(self) -> None:
        super().__init__(extra={"peername": ("127.0.0.1", 1)})
        self._closing = False

    def write(self, data: object) -> None:
        """Discard the data."""

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        """Nothing is read anyway."""

    def resume_reading(self) -> None:
        """Nothing is read anyway."""

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True

    def abort(self) -> None:
        self._closing = True
