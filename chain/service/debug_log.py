"""The debug categories of the log; the level of its logger turns a category on or off.

A line is guarded by `is_on(...)`, so that its arguments are not computed while it is off.
"""

import logging
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final

from chain.debug_categories import CATEGORIES

LOGGER_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {category: f"groat.debug.{category}" for category in CATEGORIES}
)


def debug_logger(category: str) -> logging.Logger:
    """Return the logger of one of CATEGORIES."""
    return logging.getLogger(LOGGER_NAMES[category])


def set_active(categories: Collection[str]) -> None:
    """Turn these categories on and all others off; any thread."""
    for category in CATEGORIES:
        level = logging.DEBUG if category in categories else logging.INFO
        debug_logger(category).setLevel(level)


def active() -> frozenset[str]:
    """Return the categories that are on."""
    return frozenset(name for name in CATEGORIES if is_on(debug_logger(name)))


def is_on(logger: logging.Logger) -> bool:
    """Return whether a category's lines are written."""
    return logger.isEnabledFor(logging.DEBUG)
