"""Limits on the concurrent work of all clients of one API."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from threading import BoundedSemaphore, Lock
from typing import Final

from chain.service.api.access.budget import ReplyBudget
from chain.service.api.access.stale import StaleBlocks

BLOCK_WAITERS_MAX: Final = 64  # calls that wait for blocks: a quarter of all subscribers


class Scope(Enum):
    """Of what a limit is, if several processes answer one API."""

    DIVIDED = "each process has its part of it"
    PER_PROCESS = "each process has all of it"
    AT_NODE = "what it limits is handed on to the node, which has it alone"


SCOPES: Final[Mapping[str, Scope]] = {
    "connections_max": Scope.DIVIDED,  # of the listener
    "connections_per_ip_max": Scope.DIVIDED,
    "listeners_max": Scope.DIVIDED,  # clients of /api/v1/events
    "in_flight_bytes_max": Scope.DIVIDED,  # of large replies
    "scanning": Scope.PER_PROCESS,  # one scantxoutset at a time, a second at most
    "block_sizes": Scope.PER_PROCESS,  # a cache
    "versions_waiters_max": Scope.PER_PROCESS,  # requests that wait for a Groat-Version
    "readers_max": Scope.PER_PROCESS,  # threads
    "verifying": Scope.AT_NODE,  # one verifychain at a time
    "waiters": Scope.AT_NODE,  # waitfor... and long polls, by their own limits there
    "stale": Scope.AT_NODE,  # stale blocks that miners submit
    "handed_on_max": Scope.AT_NODE,  # requests, also of one client
}


def part(limit: int, name: str, processes: int) -> int:
    """Return the limit of one of some processes, by its scope."""
    return max(limit // processes, 1) if SCOPES[name] is Scope.DIVIDED else limit


@dataclass(frozen=True, slots=True)
class ApiLimits:
    """The limits and locks, each with its current use."""

    budget: ReplyBudget = field(default_factory=ReplyBudget)
    stale: StaleBlocks = field(default_factory=StaleBlocks)
    scanning: Lock = field(default_factory=Lock)  # held by a scan; only one may run
    verifying: Lock = field(default_factory=Lock)  # held by a verification; only one may run
    waiters: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(BLOCK_WAITERS_MAX))


def limits_of_one(processes: int) -> ApiLimits:
    """Return the limits of one of some processes that answer one API."""
    return ApiLimits(budget=ReplyBudget(processes))
