"""How well an attacker can choose all peers of a node by filling its address book.

The address book alone, without a network: honest addresses, each in a network of its own, told by
some honest peers; the attacker's, from few or many networks, told again and again by its own peers.
Then the victim restarts many times and picks its outbound links as the node does.
`python -m chain.simulator.eclipse SEED...` prints one JSON line for each attack and defence.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Final

from chain.gossip.address import Address
from chain.gossip.addresses import AddressBook
from chain.primitives.hashes import sha256
from chain.simulator.rules import START_S

HONEST: Final = 1000  # addresses
HONEST_SOURCES: Final = 20
UP_PERCENT: Final = 70  # of honest addresses that answer; the attacker's always do
OUTBOUND: Final = 10  # 8 full links and 2 for blocks only
ANCHORS: Final = 2
RESTARTS: Final = 20
DAY_S: Final = 86_400
FEELERS: Final = 60  # between two restarts
TELLINGS: Final = 3  # of each of the attacker's addresses
PICKS_MAX: Final = 400
PORT: Final = 9444


@dataclass(frozen=True, slots=True)
class Attack:
    """What the attacker has, and what the victim does about it."""

    share: float  # of all addresses there are
    groups: int  # networks (/16) that the attacker has addresses in
    anchors: bool
    feelers: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it ended, over all seeds and restarts."""

    in_book: float  # the attacker's share of the addresses in the book
    of_links: float  # the attacker's share of the victim's links
    eclipsed: float  # restarts after which all links were the attacker's
    independent: float  # what `eclipsed` would be, were each link chosen by itself


def experiment(attack: Attack, seeds: Sequence[int]) -> Outcome:
    """Run an attack once for each seed."""
    shares, links, eclipsed = [], [], []
    for seed in seeds:
        victim = _Victim(attack, seed)
        shares.append(victim.attackers_share())
        for _ in range(RESTARTS):
            bad = victim.restart()
            links.append(bad / OUTBOUND)
            eclipsed.append(bad == OUTBOUND)
    of_links = _mean(links)
    return Outcome(_mean(shares), of_links, _mean(eclipsed), of_links**OUTBOUND)


class _Victim:
    def __init__(self, attack: Attack, seed: int) -> None:
        self._attack = attack
        self._chance = Random(f"eclipse {seed}")  # noqa: S311 - a simulation
        self._book = AddressBook(sha256(b"victim %d" % seed))
        self._now_s = START_S
        self._anchors: list[Address] = []
        self._is_up: dict[Address, bool] = {}
        self._fill()

    def attackers_share(self) -> float:
        """Return which part of the book is the attacker's."""
        sample = self._book.sample(self._chance, len(self._book), self._now_s)
        return _mean([_is_attackers(record.address) for record in sample])

    def restart(self) -> int:
        """Live a day with feelers, restart, and return how many links are the attacker's."""
        self._now_s += DAY_S
        if self._attack.feelers:
            for _ in range(FEELERS):
                self._try(self._book.choose(self._chance, lambda _: True, new_only=True))
        linked = [address for address in self._anchors if self._try(address)]
        for _ in range(PICKS_MAX):
            if len(linked) >= OUTBOUND:
                break
            address = self._pick([address.group for address in linked])
            if self._try(address) and address is not None:
                linked.append(address)
        self._anchors = linked[-ANCHORS:] if self._attack.anchors else []
        return sum(map(_is_attackers, linked))

    def _pick(self, groups: list[bytes]) -> Address | None:
        """Return an address of a network that no link is to."""
        return self._book.choose(
            self._chance, lambda address: address.group not in groups, new_only=False
        )

    def _try(self, address: Address | None) -> bool:
        if address is None:
            return False
        self._book.tried(address, self._now_s)
        if _is_attackers(address) or self._chance.uniform(0, 100) < UP_PERCENT:
            self._book.reached(address, self._now_s)
            return True
        return False

    def _fill(self) -> None:
        sources = [_honest(number) for number in range(HONEST_SOURCES)]
        for number in range(HONEST):
            source = self._chance.choice(sources)
            self._book.add(_honest(number), source, self._now_s, self._now_s)
        for number in range(HONEST_SOURCES):  # linked before the attack began
            self._book.reached(_honest(number), self._now_s)
        groups = self._attack.groups
        count = round(HONEST * self._attack.share / (1 - self._attack.share))
        for number in range(count * TELLINGS):
            address = _attackers(number % count, groups)
            source = _attackers(self._chance.randrange(count), groups)
            self._book.add(address, source, self._now_s, self._now_s)


def _honest(number: int) -> Address:
    return Address(bytes([20 + number // 256, number % 256, 0, 1]), PORT)


def _attackers(number: int, groups: int) -> Address:
    group, host = number % groups, number // groups
    return Address(bytes([150 + group // 256, group % 256, host // 250, 1 + host % 250]), PORT)


def _is_attackers(address: Address) -> bool:
    return address.ip[0] >= 150


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(len(values), 1)


def main(seeds: Sequence[int]) -> None:
    """Print what becomes of each attack, with and without each defence."""
    for share in (0.1, 0.3, 0.5):
        for groups in (2, 32, 256):
            for anchors, feelers in ((True, True), (False, True), (True, False)):
                attack = Attack(share, groups, anchors, feelers)
                outcome = experiment(attack, seeds)
                sys.stdout.write(json.dumps(asdict(attack) | asdict(outcome)) + "\n")


if __name__ == "__main__":
    main([int(text) for text in sys.argv[1:]] or [1])
