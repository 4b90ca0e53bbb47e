"""Reading what several messages have: counts with a limit, and the end."""

from chain.primitives.encoding import DecodeError, read_compact_size


def read_count(payload: bytes, at: int, limit: int) -> tuple[int, int]:
    """Return the count at offset `at`, and the offset behind it. Raises DecodeError: over limit."""
    count, at = read_compact_size(payload, at)
    if count > limit:
        raise DecodeError(f"{count} entries, at most {limit}")
    return count, at


def check_end(payload: bytes, at: int) -> None:
    """Raise DecodeError if the payload goes on behind offset `at`."""
    if at != len(payload):
        raise DecodeError(f"{len(payload) - at} bytes behind the message")
