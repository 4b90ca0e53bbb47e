"""How often one address may ask for something."""

from dataclasses import dataclass
from typing import Final

SECONDS_PER_MINUTE: Final = 60
ADDRESSES_MAX: Final = 10_000  # remembered; beyond, the one that asked least recently is forgotten


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at_s: float


class RateLimit:
    """Token buckets by address: `per_minute` on average, and as many at once."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._buckets: dict[str, _Bucket] = {}  # least recently used first

    def allows(self, address: str, now_s: float) -> bool:
        """Tell whether `address` may ask now, and if so count it. `now_s` never goes back."""
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
