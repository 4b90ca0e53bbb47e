"""Taproot's script path (BIP341): annex, control block, and the commitment to scripts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from chain.primitives.encoding import with_size
from chain.primitives.hashes import TaggedHash, sha256
from chain.primitives.numbers import Hash32
from chain.primitives.signature import is_tweaked_key
from chain.primitives.transaction import encode_witness
from chain.script.errors import ScriptError, fail

TAPSCRIPT_LEAF: Final = 0xC0  # BIP342
ANNEX_TAG: Final = 0x50
_LEAF_MASK: Final = 0xFE
_BASE_BYTES: Final = 33  # of a control block, with the internal key
_NODE_BYTES: Final = 32
_PATH_MAX: Final = 128
_BUDGET_OFFSET: Final = 50

_tap_leaf = TaggedHash("TapLeaf")
_tap_branch = TaggedHash("TapBranch")
_tap_tweak = TaggedHash("TapTweak")


@dataclass(slots=True)
class Tapscript:
    """The context in which a tapscript runs."""

    leaf_hash: Final[Hash32]
    annex_hash: Final[Hash32 | None]
    budget: int  # weight units left for signatures


def split_annex(witness: Sequence[bytes]) -> tuple[list[bytes], Hash32 | None]:
    """Return the witness items without the annex, and the annex's hash, or None."""
    if len(witness) >= 2 and witness[-1].startswith(bytes([ANNEX_TAG])):
        return list(witness[:-1]), sha256(with_size(witness[-1]))
    return list(witness), None


def leaf_version(control: bytes) -> int:
    """Return the leaf version that a control block, valid or not but not empty, names."""
    return control[0] & _LEAF_MASK


def committed_leaf(program: bytes, script: bytes, control: bytes) -> Hash32:
    """Return the leaf hash of `script`, after a check that the output key `program` commits to it.

    Fails with TAPROOT_WRONG_CONTROL_SIZE, WITNESS_PROGRAM_MISMATCH. Bitcoin:
    VerifyTaprootCommitment.
    """
    path, rest = divmod(len(control) - _BASE_BYTES, _NODE_BYTES)
    if rest or not 0 <= path <= _PATH_MAX:
        fail(ScriptError.TAPROOT_WRONG_CONTROL_SIZE)
    leaf = leaf_hash(leaf_version(control), script)
    root = leaf
    for at in range(_BASE_BYTES, len(control), _NODE_BYTES):
        root = branch_hash(root, control[at : at + _NODE_BYTES])
    key = control[1:_BASE_BYTES]
    if not is_tweaked_key(program, control[0] & 1, key, tweak(key, root)):
        fail(ScriptError.WITNESS_PROGRAM_MISMATCH)
    return leaf


def leaf_hash(version: int, script: bytes) -> Hash32:
    """Return the hash of a leaf: `version` is even (BIP341)."""
    return _tap_leaf(bytes([version]) + with_size(script))


def branch_hash(one: bytes, other: bytes) -> Hash32:
    """Return the hash of the parent of two nodes, in either order."""
    return _tap_branch(one + other if one < other else other + one)


def tweak(internal_key: bytes, root: bytes) -> Hash32:
    """Return the tweak of an x-only key that commits to `root`; empty: no scripts."""
    return _tap_tweak(internal_key + root)


def signature_budget(witness: Sequence[bytes]) -> int:
    """Return the weight units that signatures may use (BIP342): the witness's size plus 50."""
    return len(encode_witness(witness)) + _BUDGET_OFFSET
