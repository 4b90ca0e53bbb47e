"""Errors that HTTP clients raise for a misbehaving server, and why there is no connection."""

import os
import ssl
from typing import Final

_CAUSES_MAX: Final = 8  # errors around the system's own
_CUT: Final = "peer closed connection without sending complete message body"  # h11's
RETRY_AFTER_S_MAX: Final = 86_400


class ServerError(Exception):
    """A server broke the protocol; `is_fault`: by bytes that it sent, not by silence."""

    def __init__(self, why: str, *, is_fault: bool = False) -> None:
        super().__init__(why)
        self.is_fault = is_fault


class StatusError(ServerError):
    """A server answered with a status other than the expected one."""

    def __init__(self, status: int, retry_after_s: int) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.retry_after_s = retry_after_s


def connection_problem(error: BaseException) -> str:
    """Return what the system said, in lower case: libraries only say that something failed."""
    cause: BaseException | None = error
    for _ in range(_CAUSES_MAX):
        if isinstance(cause, ssl.SSLError):  # an OSError, whose number is OpenSSL's
            return f"TLS failed: {_tls_problem(cause)}"
        if isinstance(cause, OSError) and cause.errno is not None:
            is_system = cause.errno > 0  # the numbers of a name that is not found are negative
            text = os.strerror(cause.errno) if is_system else cause.strerror or str(cause)
            return text[:1].lower() + text[1:]
        cause = None if cause is None else cause.__cause__ or cause.__context__
    if str(error).startswith(_CUT):
        return "the connection ended in the middle of a reply"
    return str(error) or type(error).__name__


def _tls_problem(error: ssl.SSLError) -> str:
    """Return what OpenSSL said; plain HTTP, the likely cause, is a wrong version to it."""
    if "WRONG_VERSION_NUMBER" in str(error):
        return "plain HTTP is spoken there"
    return getattr(error, "verify_message", "") or str(error)


def retry_after(text: str) -> int:
    """Return the seconds that a Retry-After header names; 0 if it names none."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        return 0
    return min(int(text), RETRY_AFTER_S_MAX)
