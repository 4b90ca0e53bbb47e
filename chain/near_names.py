"""The hint after a name that nobody knows: the known one that was probably meant."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

_NAME_CHARACTERS_MAX: Final = 64  # longer ones are no typing errors, and take long to compare


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean X?" for the nearest known name, or nothing."""
    if len(name) > _NAME_CHARACTERS_MAX:
        return ""
    near = get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""
