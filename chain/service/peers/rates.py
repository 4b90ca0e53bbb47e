"""Limits on the rate of requests per address."""

from dataclasses import dataclass
from typing import Final

SECONDS_PER_MINUTE: Final = 60
ADDRESSES_MAX: Final = 10_000  # the least recently used address is forgotten beyond this


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at_s: float


class RateLimit:
    """Token buckets by address: `per_minute` on average, with bursts of the same size."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._buckets: dict[str, _Bucket] = {}  # least recently used first

    def allows(self, address: str, now_s: float) -> bool:
        """Return whether `address` may ask now, and count that. `now_s` never decreases."""
        bucket = self._buckets.pop(address, None) or _Bucket(self._per_minute, now_s)
        gained = (now_s - bucket.at_s) * self._per_minute / SECONDS_PER_MINUTE
        bucket.tokens = min(bucket.tokens + gained, self._per_minute)
        bucket.at_s = now_s
        self._buckets[address] = bucket
        if len(self._buckets) > ADDRESSES_MAX:
            del self._buckets[next(iter(self._buckets))]
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True
