"""A client of a node's JSON-RPC, groat's or Bitcoin Core's."""

import json
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, TypeAlias

import httpx

from chain.endpoint import PORT_MAX, dial_url
from chain.service.api.exact_json import write_json
from chain.service.api.strict_json import Number
from chain.service.http.http_error import connection_problem
from chain.service.http.tls_context import tls_context
from chain.text_file import TextFileError, read_text_file

REPLY_BYTES_MAX: Final = 64_000_000  # hex of the largest block's transactions, and what names them
SECRET_BYTES_MAX: Final = 1024
TIMEOUT_S: Final = 30.0
# Errors of json.loads, deep nesting included, and of values of the wrong type.
_MALFORMED: Final = (ValueError, KeyError, TypeError, OverflowError, RecursionError)
_SHOWN_CHARACTERS_MAX: Final = 200

Json: TypeAlias = Any  # dict, list, str, int, float, bool or None, nested
_JSON: Final = {"Content-Type": "application/json"}
Login = Callable[[], tuple[str, str]]  # user and password, read again for each call


class RpcFailure(Exception):  # noqa: N818 - the parent of errors, each of its own kind
    """A call failed; the text says why in one line."""


class InvalidUrlError(RpcFailure):
    """The URL cannot be called, or must not be written where others can read it."""


class UnreachableError(RpcFailure):
    """The node cannot be reached or does not answer in time; a retry may help."""


class LoginRefusedError(RpcFailure):
    """The server does not take the user or password."""


class NotConnectedError(UnreachableError):
    """Nothing was sent: nobody listens there, or no node has left its cookie."""


class NoCookieError(NotConnectedError):
    """The cookie file is missing: a node removes it when it stops."""


class RpcResponseError(RpcFailure):
    """The node refused the call; `message` has all its lines."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"the node says: {message[:_SHOWN_CHARACTERS_MAX]} ({code})")
        self.code = code
        self.message = message


class UnavailableError(RpcResponseError, UnreachableError):
    """The call cannot be made now: a reader's node is not running, or a ledger fails."""


def cookie_login(path: Path) -> Login:
    """Return the login in a cookie file, which a node rewrites when it starts."""

    def read() -> tuple[str, str]:
        try:
            text = read_text_file(path, SECRET_BYTES_MAX)
        except TextFileError as error:
            if error.is_missing:
                raise NoCookieError(f"cookie {error}") from error
            raise RpcFailure(f"cookie {error}") from error
        user, colon, password = text.strip().partition(":")
        if not colon:
            raise RpcFailure(f"cookie {path}: it is not USER:PASSWORD")
        return user, password

    return read


class RpcClient:
    """Calls one node; several threads may share it."""

    def __init__(self, url: str, login: Login, read: Callable[[bytes], Json] = json.loads) -> None:
        """Prepare to call; `read` decodes a reply, and may keep its numbers exact.

        Raises InvalidUrlError.
        """
        self.url = _checked_url(url)
        self._login = login
        self._read = read
        self._client = httpx.Client(verify=tls_context(self.url), trust_env=False)

    def close(self) -> None:
        """Drop all connections."""
        self._client.close()

    def call(self, method: str, *params: Json, timeout_s: float = TIMEOUT_S) -> Json:
        """Return the call's result. Raises RpcFailure."""
        return self.request(method, params, timeout_s)

    def request(self, method: str, params: Json, timeout_s: float) -> Json:
        """Return the result of a call with a list or an object of arguments. Raises RpcFailure."""
        request = write_json({"id": 0, "method": method, "params": params}).encode()
        try:
            status, body = self._post(request, timeout_s)
        except (httpx.ConnectError, httpx.ConnectTimeout) as failed:
            raise NotConnectedError(
                f"no answer from {self.url} ({connection_problem(failed)})"
            ) from failed
        except httpx.HTTPError as failed:
            problem = connection_problem(failed)
            raise UnreachableError(f"no answer from {self.url} ({problem})") from failed
        except UnicodeError as no_name:
            raise RpcFailure(f"{self.url!r} has no host: {no_name}") from no_name
        self._check_status(status, len(request), body)
        try:
            reply = self._read(body)
            error = reply["error"]
            if error is None:
                return reply["result"]
            refusal = RpcResponseError(_whole(error["code"]), str(error["message"]))
        except _MALFORMED as malformed:
            raise RpcFailure(f"what answers at {self.url} speaks no JSON-RPC") from malformed
        raise refusal

    def _check_status(self, status: int, size: int, body: bytes) -> None:
        """Raise RpcFailure for a status that no call has; `size` is the request's."""
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise LoginRefusedError(f"{self.url} refuses the user or password")
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            raise self._unavailable(body)
        if status == HTTPStatus.MISDIRECTED_REQUEST:
            raise RpcFailure(f"{self.url} answers to other names (a groat node's --api-host)")
        if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            raise RpcFailure(f"{self.url} refuses a request of {size:,} bytes: too large")

    def _unavailable(self, body: bytes) -> UnreachableError:
        """Return the error in a reply of 503; that of a server with too many calls has none."""
        try:
            error = self._read(body)["error"]
            return UnavailableError(_whole(error["code"]), str(error["message"]))
        except _MALFORMED:
            return UnreachableError(f"{self.url} is busy")

    def _post(self, request: bytes, timeout_s: float) -> tuple[int, bytes]:
        parts, size = [], 0
        timeout = httpx.Timeout(TIMEOUT_S, read=timeout_s)
        with self._client.stream(
            "POST", self.url, content=request, headers=_JSON, auth=self._login(), timeout=timeout
        ) as reply:
            for part in reply.iter_bytes():
                parts.append(part)
                size += len(part)
                if size > REPLY_BYTES_MAX:
                    raise RpcFailure(f"{self.url} sends more than {REPLY_BYTES_MAX} bytes")
            return reply.status_code, b"".join(parts)


def _whole(code: Json) -> int:
    """Return an error's number; an exact reader gives its text. Raises as `int`."""
    return int(code.text if isinstance(code, Number) else code)


def _checked_url(url: str) -> str:
    """Return the URL to call for the one that was given. Raises InvalidUrlError."""
    shown = url[:_SHOWN_CHARACTERS_MAX]
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise InvalidUrlError(
            f"{shown!r} is not a URL: {str(error)[:_SHOWN_CHARACTERS_MAX]}"
        ) from error
    if parsed.userinfo:
        raise InvalidUrlError(
            "the URL has a user or password, which other users here can see: leave it out"
        )
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise InvalidUrlError(f"{shown!r} is not an http:// or https:// URL")
    try:
        return dial_url(url)
    except ValueError as error:
        raise InvalidUrlError(f"{shown!r} has no port from 1 to {PORT_MAX}") from error
