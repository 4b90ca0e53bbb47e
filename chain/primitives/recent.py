"""A bounded memory of ids: the newest are certain to be in it, the oldest are forgotten."""

from chain.primitives.numbers import Hash32


class Recent:
    """Two generations of ids; when the younger is full it becomes the older one.

    One thread may add ids while others look for them: no id that is certain is ever missing.
    """

    __slots__ = ("_half", "_old", "_young")

    def __init__(self, size: int) -> None:
        """Hold at least `size` / 2 of the newest ids, and at most `size`."""
        self._half = size // 2
        self._young: dict[Hash32, None] = {}
        self._old: dict[Hash32, None] = {}

    def add(self, item: Hash32) -> None:
        """Remember an id."""
        if item not in self._young:
            self._young[item] = None
            if len(self._young) >= self._half:
                self._old, self._young = self._young, {}  # in this order, for other threads

    def clear(self) -> None:
        """Forget all."""
        self._old, self._young = {}, {}

    def __contains__(self, item: object) -> bool:
        return item in self._young or item in self._old

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
