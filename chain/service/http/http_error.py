"""What a server may do wrong, as both of our HTTP clients tell it."""

from typing import Final

RETRY_AFTER_S_MAX: Final = 86_400


class ServerError(Exception):
    """A server did not do as agreed; `is_fault`: by bytes it sent, not by silence."""

    def __init__(self, why: str, *, is_fault: bool = False) -> None:
        super().__init__(why)
        self.is_fault = is_fault


class StatusError(ServerError):
    """A server answered with another status than the one that means success."""

    def __init__(self, status: int, retry_after_s: int) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.retry_after_s = retry_after_s


def retry_after(text: str) -> int:
    """Return the seconds that a Retry-After header names; 0 if it names none."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        return 0
    return min(int(text), RETRY_AFTER_S_MAX)
