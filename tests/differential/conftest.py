"""What the differential tests share: duels, which need Bitcoin Core's engine."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.differential.fast_way import FastWay, watched

OFFERS_MAX = 600  # in one duel that tests share: its world grows with each


class Arena:
    """Makes duels, and keeps one going for tests that do not mind what came before."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._made: list = []
        self._shared = None

    def new(self, seed: object, *, with_base: bool = True):
        """Return a duel of its own, which lives as long as the arena or until it is closed."""
        from tests.differential.duel import Duel  # noqa: PLC0415 - needs the oracle

        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir()
        self._made.append(Duel(folder, Random(str(seed)), with_base=with_base))
        return self._made[-1]

    def shared(self, seed: object):
        """Return the duel that others used before, or a new one after a failure."""
        duel = self._shared
        if duel is None or duel.failed or duel.compared > OFFERS_MAX:
            if duel is not None:
                self.retire(duel)
            self._shared = duel = self.new(seed)
        duel.world.rng = Random(str(seed))
        return duel

    def retire(self, duel) -> None:
        """Close a duel, and free its memory and disk (the kernel takes 17 MB) if it went well.

        Then the same blocks are validated again, small ones together.
        """
        if not duel.failed:
            duel.subject.repeat()
        duel.close()
        self._made.remove(duel)
        if not duel.failed:
            shutil.rmtree(duel.folder)

    def close(self) -> None:
        for duel in self._made:
            if not duel.failed:
                duel.subject.repeat()
            duel.close()


@pytest.fixture(scope="session", autouse=True)
def fast_way() -> Iterator[FastWay]:
    """Every P2WPKH spend of these tests is run by the engine as well."""
    with watched() as seen:
        yield seen


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    pytest.importorskip("pbk", reason="no oracle: py-bitcoinkernel is not installed")
    arena = Arena(tmp_path_factory.mktemp("duels"))
    yield arena
    arena.close()
