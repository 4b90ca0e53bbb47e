"""Errors that both HTTP clients raise for a misbehaving server."""

from typing import Final

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


def retry_after(text: str) -> int:
    """Return the seconds that a Retry-After header names; 0 if it names none."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        return 0
    return min(int(text), RETRY_AFTER_S_MAX)
