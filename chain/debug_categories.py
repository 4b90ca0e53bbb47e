"""The log's debug categories, under Bitcoin Core's names (logging.cpp)."""

from collections.abc import Iterable
from typing import Final

from chain.text_file import escaped

CATEGORIES: Final = ("http", "mempool", "mining", "net", "rpc", "validation")
ALL: Final = frozenset({"all", "1"})
NONE: Final = frozenset({"none", "0"})  # it overrides the names before it
_SHOWN_CHARACTERS_MAX: Final = 64  # of a quoted unknown name


class UnknownCategoryError(ValueError):
    """An unknown category; the text is Bitcoin Core's."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"unknown logging category {escaped(name[:_SHOWN_CHARACTERS_MAX])}")


def expand_categories(names: Iterable[str]) -> frozenset[str]:
    """Return the categories that a list of names stands for. Raises UnknownCategoryError."""
    chosen: set[str] = set()
    for name in names:
        if name in ALL:
            chosen.update(CATEGORIES)
        elif name in NONE:
            chosen.clear()
        elif name in CATEGORIES:
            chosen.add(name)
        else:
            raise UnknownCategoryError(name)
    return frozenset(chosen)
