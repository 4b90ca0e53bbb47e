"""groat and Bitcoin Core side by side: each block to both, each answer compared."""

from pathlib import Path
from random import Random
from typing import Self

from chain.consensus.params import REGTEST
from chain.primitives.block import decode_block
from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import Hash32
from tests.differential.mutation import Mutation
from tests.differential.offer import ANY, Compare, Offer, good
from tests.differential.oracle import Oracle
from tests.differential.subject import Subject
from tests.differential.verdict import Verdict
from tests.differential.world import World, base_blocks

_BRANCH_INVALID = "bad-prevblk"


class Duel:
    """Both sides on the same blocks from genesis on, and the world in which these are made."""

    def __init__(self, folder: Path, rng: Random, *, with_base: bool = True) -> None:
        self.folder = folder
        self.oracle = Oracle(folder)
        self.subject = Subject(directly=rng.random() < 0.5)
        self.world = World(rng)
        self.compared = 0
        self.failed = False
        self.closed = False
        self._transcript = folder / "offered.dat"
        self._offered: list[bytes] = []
        self._running = "base"
        for block in base_blocks() if with_base else ():
            self.offer(good(block))
        self.compared = 0

    def run(self, mutation: Mutation, *, echo: float = 0) -> None:
        """Offer everything that a mutation makes, and with chance `echo` a block again."""
        self._running = mutation.name
        self.failed = True  # until it went well
        self.world.begin()
        offers = mutation.offers(self.world)
        try:
            offer = next(offers)
            while True:
                answer = self.offer(offer)
                if self.world.rng.random() < echo and offer.compare is Compare.EXACT:
                    self.offer(Offer(offer.raw, ANY))
                offer = offers.send(answer)
        except StopIteration:
            self.failed = False

    def offer(self, offer: Offer) -> Verdict:
        """Offer one block to both, fail unless they agree as far as they must, return Core's."""
        if offer.compare is Compare.HEADER:
            core = self.oracle.feed_header(offer.raw)
            ours = self.subject.feed_header(offer.raw)
        else:
            self._offered.append(offer.raw)
            core = self.oracle.feed(offer.raw)
            ours = self.subject.feed(offer.raw)
        self.compared += 1
        problem = _disagreement(offer, core, ours) or _surprise(offer, core)
        if problem:
            self._fail(offer, f"{problem}\n  Core:  {core}\n  groat: {ours}")
        self._credit_senders(offer, core, ours)
        return core

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.oracle.close()
            self.subject.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _credit_senders(self, offer: Offer, core: Verdict, ours: Verdict) -> None:
        if offer.compare is Compare.HEADER:
            return
        if core.accepted and not ours.accepted:
            self._heal(core)
            return
        try:
            block = decode_block(offer.raw)
        except DecodeError:
            return
        tip = Hash32(bytes.fromhex(core.tip)[::-1])
        self.world.update_best_known(block, tip, accepted=core.accepted)

    def _heal(self, core: Verdict) -> None:
        """Lead Core away from a block that only it takes, with two blocks beside it."""
        if self.world.tip.height == core.height:
            return
        first = self.world.block()
        self.oracle.feed(first.raw)
        assert self.subject.feed(first.raw).accepted
        self.world.update_best_known(first, first.id, accepted=True)
        self.offer(good(self.world.block()))

    def _fail(self, offer: Offer, problem: str) -> None:
        frames = (REGTEST.magic + len(raw).to_bytes(4, "little") + raw for raw in self._offered)
        self._transcript.write_bytes(b"".join(frames))
        shown = offer.raw.hex() if len(offer.raw) < 5000 else f"{len(offer.raw)} bytes"
        where = f"{self._running}, offer {self.compared}; all of them: {self._transcript}"
        raise AssertionError(f"{problem}\n  in {where}\n  {shown}")


def _disagreement(offer: Offer, core: Verdict, ours: Verdict) -> str | None:
    if offer.compare is Compare.ONE_WAY:
        return "groat accepts what Core refuses" if ours.accepted > core.accepted else None
    if ours.accepted != core.accepted:
        return "one accepts and the other refuses"
    if (ours.height, ours.tip) != (core.height, core.tip):
        return "the tips differ"
    return None if ours.reason == _named(core, ours) else "the reasons differ"


def _named(core: Verdict, ours: Verdict) -> str | None:
    """Return Core's reason; where a branch failed below the block, Core names none for it."""
    if core.reason is None and ours.reason == _BRANCH_INVALID:
        return _BRANCH_INVALID
    return core.reason


def _surprise(offer: Offer, core: Verdict) -> str | None:
    """Tell where Core does not say what the mutation is made for."""
    if offer.expected == ANY:
        return None
    said = None if core.accepted else core.reason or ""
    return None if said == offer.expected else f"expected of Core: {offer.expected}"
