"""The probability of an eclipse attack through the address book.

The experiment uses the address book alone. Honest addresses, each in its own network, come from
honest peers; the attacker's addresses, in few or many networks, are repeated by the attacker's
peers. Then the victim restarts many times and chooses its outbound links as the node does, with
each of three defences on and off: one link for each network, anchors, feelers. `python -m
chain.simulator.eclipse --seeds 1000 --processes 2` makes the table of docs/protocol.md.
"""

import argparse
import json
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import product, repeat
from random import Random
from typing import Final

from chain.gossip.peers.addresses import AddressBook
from chain.gossip.wire.address import Address
from chain.primitives.hashes import sha256
from chain.simulator.rules import START_S

HONEST: Final = 1000  # addresses
HONEST_SOURCES: Final = 20
UP_PERCENT: Final = 70  # of honest addresses that are up; the attacker's always are
OUTBOUND: Final = 10  # 8 full links and 2 block relay links
ANCHORS: Final = 2
RESTARTS: Final = 20
DAY_S: Final = 86_400
FEELERS: Final = 60  # between two restarts
TELLINGS: Final = 3  # announcements of each of the attacker's addresses
PICKS_MAX: Final = 400
PORT: Final = 9444
SHARES: Final = (0.1, 0.3, 0.5)
GROUPS: Final = (2, 32, 256)


@dataclass(frozen=True, slots=True)
class Attack:
    """The attacker's resources."""

    share: float  # of all addresses
    groups: int  # networks (/16) that the attacker has addresses in


@dataclass(frozen=True, slots=True)
class Defence:
    """The victim's defences."""

    one_a_group: bool = True  # never two outbound links to one network
    anchors: bool = True
    feelers: bool = True


DEFENCES: Final = tuple(Defence(*on) for on in product((True, False), repeat=3))


@dataclass(frozen=True, slots=True)
class EclipseResult:
    """The result over all seeds and restarts."""

    restarts: int
    in_book: float  # the attacker's share of the addresses in the book, before the first restart
    of_links: float  # the attacker's share of the victim's links
    eclipsed: float  # restarts after which all links were the attacker's
    independent: float  # `eclipsed` if each link were chosen independently


@dataclass(slots=True)
class _Counts:
    """Integer counts, so that the order of additions does not matter."""

    restarts: int = 0
    known: int = 0
    bad_known: int = 0
    bad_links: int = 0
    eclipsed: int = 0

    def add(self, other: "_Counts") -> None:
        self.restarts += other.restarts
        self.known += other.known
        self.bad_known += other.bad_known
        self.bad_links += other.bad_links
        self.eclipsed += other.eclipsed

    def outcome(self) -> EclipseResult:
        of_links = self.bad_links / (self.restarts * OUTBOUND)
        return EclipseResult(
            self.restarts,
            self.bad_known / self.known,
            of_links,
            self.eclipsed / self.restarts,
            of_links**OUTBOUND,
        )


def experiment(
    attack: Attack, seeds: Sequence[int], defences: Sequence[Defence] = DEFENCES
) -> list[EclipseResult]:
    """Run an attack once for each seed and defence; return an outcome for each defence."""
    return [tally.outcome() for tally in _tallies(attack, seeds, defences)]


def _tallies(
    attack: Attack, seeds: Sequence[int], defences: Sequence[Defence] = DEFENCES
) -> list[_Counts]:
    tallies = [_Counts() for _ in defences]
    for seed in seeds:
        book = _filled(attack, seed)
        image = pickle.dumps(book)  # filling a book costs far more than copying it
        known = book.sample(Random(seed), len(book), START_S)  # noqa: S311 - a simulation
        bad_known = sum(_is_attackers(record.address) for record in known)
        for defence, tally in zip(defences, tallies, strict=True):
            victim = _Victim(pickle.loads(image), defence, seed)  # noqa: S301 - made above
            bad = [victim.restart() for _ in range(RESTARTS)]
            eclipsed = bad.count(OUTBOUND)
            tally.add(_Counts(RESTARTS, len(known), bad_known, sum(bad), eclipsed))
    return tallies


def _filled(attack: Attack, seed: int) -> AddressBook:
    """Return the victim's address book after the attack; the honest addresses came first."""
    rng = Random(f"eclipse {seed} {attack}")  # noqa: S311
    book = AddressBook(sha256(b"victim %d" % seed))
    sources = [_honest(number) for number in range(HONEST_SOURCES)]
    for number in range(HONEST):
        book.add(_honest(number), rng.choice(sources), START_S, START_S)
    for source in sources:
        book.reached(source, START_S)
    count = round(HONEST * attack.share / (1 - attack.share))
    for number in range(count * TELLINGS):
        address = _attackers(number % count, attack.groups)
        source = _attackers(rng.randrange(count), attack.groups)
        book.add(address, source, START_S, START_S)
    return book


class _Victim:
    def __init__(self, book: AddressBook, defence: Defence, seed: int) -> None:
        self._defence = defence
        self._rng = Random(f"victim {seed}")  # noqa: S311
        self._book = book
        self._now_s = START_S
        self._anchors: list[Address] = []

    def restart(self) -> int:
        """Run feelers for a day, restart, and return the number of the attacker's links."""
        self._now_s += DAY_S
        if self._defence.feelers:
            for _ in range(FEELERS):
                self._try(self._book.choose(self._rng, lambda _: True, new_only=True))
        linked = [address for address in self._anchors if self._try(address)]
        for _ in range(PICKS_MAX):
            if len(linked) >= OUTBOUND:
                break
            address = self._pick(linked)
            if self._try(address) and address is not None:
                linked.append(address)
        self._anchors = linked[-ANCHORS:] if self._defence.anchors else []
        return sum(map(_is_attackers, linked))

    def _pick(self, linked: Sequence[Address]) -> Address | None:
        if self._defence.one_a_group:
            groups = [address.group for address in linked]
            return self._choose(lambda address: address.group not in groups)
        return self._choose(lambda address: address not in linked)

    def _choose(self, is_wanted: Callable[[Address], bool]) -> Address | None:
        return self._book.choose(self._rng, is_wanted, new_only=False)

    def _try(self, address: Address | None) -> bool:
        if address is None:
            return False
        self._book.tried(address, self._now_s)
        if _is_attackers(address) or self._rng.uniform(0, 100) < UP_PERCENT:
            self._book.reached(address, self._now_s)
            return True
        return False


def _honest(number: int) -> Address:
    return Address(bytes([20 + number // 256, number % 256, 0, 1]), PORT)


def _attackers(number: int, groups: int) -> Address:
    group, host = number % groups, number // groups
    return Address(bytes([150 + group // 256, group % 256, host // 250, 1 + host % 250]), PORT)


def _is_attackers(address: Address) -> bool:
    return address.ip[0] >= 150


def outcomes(
    attacks: Sequence[Attack], seeds: Sequence[int], processes: int
) -> Iterator[tuple[Attack, list[EclipseResult]]]:
    """Yield each attack with its result for each of DEFENCES."""
    numbers = [[seed] for seed in seeds]
    with ProcessPoolExecutor(processes) as pool:
        for attack in attacks:
            totals = [_Counts() for _ in DEFENCES]
            for tallies in pool.map(_tallies, repeat(attack), numbers):
                for total, tally in zip(totals, tallies, strict=True):
                    total.add(tally)
            yield attack, [total.outcome() for total in totals]


def _row(attack: Attack, defence: Defence, outcome: EclipseResult) -> str:
    marks = ["yes" if on else "no" for on in asdict(defence).values()]
    cells = [f"{attack.share:.0%}", str(attack.groups), *marks]
    cells += [f"{outcome.of_links:.1%}", f"{outcome.eclipsed:.2%}", f"{outcome.independent:.2%}"]
    return "| " + " | ".join(cells) + " |\n"


HEAD: Final = (
    "| attacker's addresses | networks | one link a network | anchors | feelers "
    "| of links | all links | if each link were chosen by itself |\n" + "|---" * 8 + "|\n"
)


def main() -> None:
    """Print the result of each attack, with and without each defence."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="how many")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--share", type=float, nargs="*", default=SHARES, help="of the addresses")
    parser.add_argument("--networks", type=int, nargs="*", default=GROUPS, help="of the attacker")
    parser.add_argument("--json", action="store_true", help="one line for each row")
    chosen = parser.parse_args()
    attacks = [Attack(*both) for both in product(chosen.share, chosen.networks)]
    if not chosen.json:
        sys.stdout.write(HEAD)
    seeds = range(chosen.first_seed, chosen.first_seed + chosen.seeds)
    for attack, found in outcomes(attacks, seeds, chosen.processes):
        for defence, outcome in zip(DEFENCES, found, strict=True):
            row = asdict(attack) | asdict(defence) | asdict(outcome)
            sys.stdout.write(
                json.dumps(row) + "\n" if chosen.json else _row(attack, defence, outcome)
            )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
