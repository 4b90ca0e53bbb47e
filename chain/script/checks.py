"""Keys and signatures: checks of their encoding, and who verifies signatures."""

from dataclasses import dataclass
from typing import Final, Protocol

from chain.primitives.numbers import Hash32
from chain.primitives.sighash import (
    SIGHASH_ALL,
    SIGHASH_ANYONE_CAN_PAY,
    SIGHASH_DEFAULT,
    SIGHASH_SINGLE,
)
from chain.primitives.signature import is_low_s, is_strict_der, verify, verify_schnorr
from chain.script.errors import ScriptError, fail
from chain.script.flags import ScriptVersion, VerifyFlags
from chain.script.hashes import InputHashes

# Plain numbers, since operations on enumerations take as long as hashing.
_STRICTENC: Final[int] = VerifyFlags.STRICTENC.value
_LOW_S: Final[int] = VerifyFlags.LOW_S.value
_STRICT_DER: Final[int] = VerifyFlags.DERSIG.value | _LOW_S | _STRICTENC
_WITNESS_PUBKEYTYPE: Final[int] = VerifyFlags.WITNESS_PUBKEYTYPE.value


class Checker(Protocol):
    """A verifier of signatures (Bitcoin: BaseSignatureChecker)."""

    def ecdsa(self, key: bytes, signature: bytes, digest: Hash32, *, is_decisive: bool) -> bool:
        """Return whether `signature` (without hash type) of `digest` is valid for `key`.

        `is_decisive`: an invalid signature makes the spend fail whatever else its scripts do.
        """

    def schnorr(self, key: bytes, signature: bytes, digest: Hash32) -> bool:
        """Return whether `signature` (64 bytes) is valid for the x-only `key`; always decisive."""


class DirectChecker:
    """Verifies each signature at once, so that scripts fail where they fail in Bitcoin."""

    def ecdsa(self, key: bytes, signature: bytes, digest: Hash32, *, is_decisive: bool) -> bool:
        """Return whether the signature is valid."""
        del is_decisive
        return verify(key, signature, digest)

    def schnorr(self, key: bytes, signature: bytes, digest: Hash32) -> bool:
        """Return whether the signature is valid."""
        return verify_schnorr(key, signature, digest)


class Spend:
    """The input whose scripts are run, the rules in force, and the verifier of its signatures."""

    __slots__ = ("checker", "flags", "hashes")

    def __init__(self, hashes: InputHashes, flags: int, checker: Checker) -> None:
        self.hashes = hashes
        self.flags = flags
        self.checker = checker


@dataclass(slots=True, unsafe_hash=True)
class SignatureCheck:
    """One signature still to be verified."""

    key: Final[bytes]  # x-only, 32 bytes, for Schnorr
    signature: Final[bytes]  # without the hash type
    digest: Final[Hash32]
    is_schnorr: Final[bool] = False

    def verify(self) -> bool:
        """Return whether the signature is valid."""
        check = verify_schnorr if self.is_schnorr else verify
        return check(self.key, self.signature, self.digest)


class CheckQueue:
    """Collects the decisive checks, and treats them as valid until they are verified.

    A spend that passes with this checker is valid if and only if each of `checks` is. The error of
    a spend that fails, here or because a check is invalid, may not be Bitcoin's: to get that, run
    the spend again with a DirectChecker.
    """

    def __init__(self) -> None:
        self.checks: list[SignatureCheck] = []

    def ecdsa(self, key: bytes, signature: bytes, digest: Hash32, *, is_decisive: bool) -> bool:
        """Queue the check if it is decisive; else verify it now."""
        if not is_decisive:
            return verify(key, signature, digest)
        self.checks.append(SignatureCheck(key, signature, digest))
        return True

    def schnorr(self, key: bytes, signature: bytes, digest: Hash32) -> bool:
        """Queue the check."""
        self.checks.append(SignatureCheck(key, signature, digest, is_schnorr=True))
        return True


def check_signature_encoding(signature: bytes, flags: int) -> None:
    """Fail if the encoding of an ECDSA signature with its hash type breaks a rule of `flags`.

    An empty one is allowed, as the compact form of an invalid one (Bitcoin:
    CheckSignatureEncoding).
    """
    if not signature or not flags & _STRICT_DER:
        return
    der = signature[:-1]
    if not is_strict_der(der):
        fail(ScriptError.SIG_DER)
    if flags & _LOW_S and not is_low_s(der):
        fail(ScriptError.SIG_HIGH_S)
    hash_type = signature[-1] & ~SIGHASH_ANYONE_CAN_PAY
    if flags & _STRICTENC and not SIGHASH_ALL <= hash_type <= SIGHASH_SINGLE:
        fail(ScriptError.SIG_HASHTYPE)


def check_key_encoding(key: bytes, flags: int, version: ScriptVersion) -> None:
    """Fail if the encoding of a key for ECDSA breaks a rule of `flags`.

    Bitcoin: CheckPubKeyEncoding.
    """
    if not flags & (_STRICTENC | _WITNESS_PUBKEYTYPE):
        return
    is_compressed = len(key) == 33 and key[0] in {2, 3}
    is_uncompressed = len(key) == 65 and key[0] == 4
    if flags & _STRICTENC and not (is_compressed or is_uncompressed):
        fail(ScriptError.PUBKEYTYPE)
    is_v0 = version is ScriptVersion.WITNESS_V0
    if flags & _WITNESS_PUBKEYTYPE and is_v0 and not is_compressed:
        fail(ScriptError.WITNESS_PUBKEYTYPE)


def check_schnorr(
    spend: Spend,
    key: bytes,
    signature: bytes,
    annex_hash: Hash32 | None,
    extension: bytes = b"",
) -> None:
    """Fail if a signature of 64 bytes, or 65 with a hash type, is not valid for the x-only `key`.

    Errors: SCHNORR_SIG_SIZE, SCHNORR_SIG_HASHTYPE, SCHNORR_SIG. `extension` as in
    InputHashes.taproot (Bitcoin: CheckSchnorrSignature).
    """
    if len(signature) not in {64, 65}:
        fail(ScriptError.SCHNORR_SIG_SIZE)
    hash_type = signature[64] if len(signature) == 65 else SIGHASH_DEFAULT
    if len(signature) == 65 and hash_type == SIGHASH_DEFAULT:
        fail(ScriptError.SCHNORR_SIG_HASHTYPE)
    digest = spend.hashes.taproot(hash_type, annex_hash, extension)
    if digest is None:
        fail(ScriptError.SCHNORR_SIG_HASHTYPE)
    if not spend.checker.schnorr(key, signature[:64], digest):
        fail(ScriptError.SCHNORR_SIG)
