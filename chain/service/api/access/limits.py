"""Limits on the concurrent work of all clients of one API."""

from dataclasses import dataclass, field
from threading import BoundedSemaphore, Lock
from typing import Final

from chain.service.api.access.budget import ReplyBudget
from chain.service.api.access.stale import StaleBlocks

BLOCK_WAITERS_MAX: Final = 64  # calls that wait for blocks: a quarter of all subscribers


@dataclass(frozen=True, slots=True)
class ApiLimits:
    """The limits and locks, each with its current use."""

    budget: ReplyBudget = field(default_factory=ReplyBudget)
    stale: StaleBlocks = field(default_factory=StaleBlocks)
    scanning: Lock = field(default_factory=Lock)  # held by a scan; only one may run
    verifying: Lock = field(default_factory=Lock)  # held by a verification; only one may run
    waiters: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(BLOCK_WAITERS_MAX))
