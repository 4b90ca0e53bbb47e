"""Outputs of several kinds, and signatures that spend them; equal arguments give equal bytes."""

import hashlib
from functools import lru_cache
from typing import Final, Protocol

from btclib_secp256k1 import ssa, xonly

from chain.primitives.hashes import hash160, sha256
from chain.primitives.script import p2wpkh_script, push
from chain.primitives.sighash import SIGHASH_ALL, SIGHASH_DEFAULT
from chain.primitives.signature import public_key, sign
from chain.script.hashes import InputHashes
from chain.script.machine import NO_SEPARATOR
from chain.script.taproot import TAPSCRIPT_LEAF, leaf_hash, tweak

_PUBLIC_KEYS_MAX: Final = 100_000  # held in memory
_MULTISIG_KEYS: Final = 3

Unlocking = tuple[bytes, tuple[bytes, ...]]  # script_sig and witness


class OutputKind(Protocol):
    """A kind of output, each locked by keys made from a number."""

    def script(self, number: int) -> bytes:
        """Return the output's script."""

    def unlock(self, number: int, hashes: InputHashes) -> Unlocking:
        """Return what the input `hashes` needs to spend such an output."""


class P2wpkh:
    """BIP141: a key's hash."""

    def script(self, number: int) -> bytes:
        """Return the output's script."""
        return p2wpkh_script(hash160(public(number)))

    def unlock(self, number: int, hashes: InputHashes) -> Unlocking:
        """Return the witness."""
        key = public(number)
        return b"", (signed(number, hashes.witness_v0(_p2pkh(key), SIGHASH_ALL)), key)


class P2shP2wpkh:
    """The same inside P2SH."""

    def script(self, number: int) -> bytes:
        """Return the output's script."""
        return b"\xa9\x14" + hash160(P2wpkh().script(number)) + b"\x87"

    def unlock(self, number: int, hashes: InputHashes) -> Unlocking:
        """Return the script that pushes the program, and the witness."""
        _, witness = P2wpkh().unlock(number, hashes)
        return push(P2wpkh().script(number)), witness


class P2pkh:
    """A key's hash without witness."""

    def script(self, number: int) -> bytes:
        """Return the output's script."""
        return _p2pkh(public(number))

    def unlock(self, number: int, hashes: InputHashes) -> Unlocking:
        """Return the script that pushes signature and key."""
        key = public(number)
        return push(signed(number, hashes.legacy(_p2pkh(key), SIGHASH_ALL))) + push(key), ()


class P2wshMultisig:
    """P2WSH: two signatures of three keys."""

    def script(self, number: int) -> bytes:
        """Return the output's script."""
        return b"\x00\x20" + sha256(self._multisig(number))

    def unlock(self, number: int, hashes: InputHashes) -> Unlocking:
        """Return the witness: signatures by the first and the last key."""
        script = self._multisig(number)
        digest = hashes.witness_v0(script, SIGHASH_ALL)
        first, last = signed(number, digest), signed(number, digest, _MULTISIG_KEYS - 1)
        return b"", (b"", first, last, script)

    def _multisig(self, number: int) -> bytes:
        keys = [push(public(number, which)) for which in range(_MULTISIG_KEYS)]
        return b"\x52" + b"".join(keys) + b"\x53\xae"


class P2trKeyPath:
    """Taproot, spent by its key."""

    def script(self, number: int) -> bytes:
        """Return the output's script."""
        return b"\x51\x20" + public(number)[1:]

    def unlock(self, number: int, hashes: InputHashes) -> Unlocking:
        """Return the witness."""
        return b"", (_schnorr(number, hashes, b""),)


class P2trScriptPath:
    """Taproot, spent by a script that wants one signature."""

    def script(self, number: int) -> bytes:
        """Return the output's script."""
        return b"\x51\x20" + self._output_key(number)[0]

    def unlock(self, number: int, hashes: InputHashes) -> Unlocking:
        """Return the witness: signature, script, control block."""
        leaf = leaf_hash(TAPSCRIPT_LEAF, self._leaf(number))
        extension = leaf + b"\x00" + NO_SEPARATOR.to_bytes(4, "little")
        control = bytes([TAPSCRIPT_LEAF | self._output_key(number)[1]]) + public(number)[1:]
        return b"", (_schnorr(number, hashes, extension), self._leaf(number), control)

    def _leaf(self, number: int) -> bytes:
        return push(public(number)[1:]) + b"\xac"

    def _output_key(self, number: int) -> tuple[bytes, int]:
        internal = public(number)[1:]
        root = leaf_hash(TAPSCRIPT_LEAF, self._leaf(number))
        key, parity = xonly.tweak_add(internal, tweak(internal, root))
        return key, parity


P2WPKH_ONLY: Final[tuple[OutputKind, ...]] = (P2wpkh(),)
MIXED: Final[tuple[OutputKind, ...]] = (
    P2trKeyPath(),
    P2wshMultisig(),
    P2pkh(),
    P2shP2wpkh(),
    P2trScriptPath(),
)


@lru_cache(maxsize=_PUBLIC_KEYS_MAX)
def public(number: int, which: int = 0) -> bytes:
    """Return the compressed public key of a number; an output may have several."""
    return public_key(_private(number, which))


def _private(number: int, which: int = 0) -> bytes:
    suffix = b"/%d" % which if which else b""
    return hashlib.sha256(b"groat benchmark key %d" % number + suffix).digest()


def _p2pkh(key: bytes) -> bytes:
    return b"\x76\xa9\x14" + hash160(key) + b"\x88\xac"


def signed(number: int, digest: bytes, which: int = 0) -> bytes:
    """Return an ECDSA signature with its hash type, SIGHASH_ALL."""
    return sign(_private(number, which), digest) + bytes([SIGHASH_ALL])


def _schnorr(number: int, hashes: InputHashes, extension: bytes) -> bytes:
    digest = hashes.taproot(SIGHASH_DEFAULT, None, extension)
    made: bytes = ssa.sign(digest, _private(number), bytes(32), verify=False)
    return made
