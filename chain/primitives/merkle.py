"""Merkle trees as Bitcoin builds them, with detection of CVE-2012-2459's mutations."""

from collections.abc import Sequence
from operator import add, eq

from chain.primitives.hashes import sha256d
from chain.primitives.numbers import NULL_HASH, Hash32


def merkle_root(leaves: Sequence[Hash32]) -> tuple[Hash32, bool]:
    """Return the root over `leaves`, and whether the tree is mutated.

    An odd level repeats its last node, so a list with a repeated tail has the same root. A tree is
    mutated if it pairs two equal nodes otherwise (CVE-2012-2459; Bitcoin: ComputeMerkleRoot). The
    root of no leaves is the null hash.
    """
    level, mutated = list(leaves), False
    if not level:
        return NULL_HASH, False
    while len(level) > 1:
        mutated = mutated or any(map(eq, level[::2], level[1::2]))
        if len(level) % 2:
            level.append(level[-1])
        level = list(map(sha256d, map(add, level[::2], level[1::2])))
    return level[0], mutated


def merkle_branch(leaves: Sequence[Hash32], index: int) -> list[Hash32]:
    """Return the siblings from leaf `index` up to the root: the proof that it is in the tree."""
    level, branch = list(leaves), []
    while len(level) > 1:
        if len(level) % 2:
            level.append(level[-1])
        branch.append(level[index ^ 1])
        level = [sha256d(level[i] + level[i + 1]) for i in range(0, len(level), 2)]
        index //= 2
    return branch
