"""Text that a peer may have had a hand in, made fit for a log."""

from typing import Final

LOG_CHARS_MAX: Final = 200


def printable(text: str) -> str:
    """Return `text` cut, and without characters that could forge a line or steer a terminal."""
    kept = "".join(char if char.isprintable() else "?" for char in text[:LOG_CHARS_MAX])
    return kept if len(text) <= LOG_CHARS_MAX else kept + "..."
