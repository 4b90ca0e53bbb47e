"""Coins (unspent outputs), and the interface by which rules look them up."""

from dataclasses import dataclass
from typing import Final, Protocol

from chain.primitives.numbers import Amount, Height, OutPoint


@dataclass(slots=True, unsafe_hash=True)
class Coin:
    """An unspent output, and where it came from."""

    value: Final[Amount]
    script: Final[bytes]
    height: Final[Height]
    from_coinbase: Final[bool]


class CoinView(Protocol):
    """A set of coins by outpoint, such as a dict."""

    def get(self, point: OutPoint, /) -> Coin | None:
        """Return the coin, or None if it does not exist or is spent."""
