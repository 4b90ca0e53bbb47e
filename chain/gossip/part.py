"""What the core's parts have in common."""

from typing import Protocol

from chain.gossip.context import Link


class Part(Protocol):
    """A part of the core that keeps something for each link."""

    def opened(self, link: Link) -> None:
        """Note that a link opened."""

    def closed(self, link: Link) -> None:
        """Note that a link ended; `context.links` has it no more."""
