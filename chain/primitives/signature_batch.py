"""Verification of many signatures in one call without the GIL, so that threads run in parallel.

A short loop, compiled by LLVM at its first use, calls the functions of libsecp256k1 on packed
records. Without llvmlite or libsecp256k1, or if the loop fails its test, signatures are verified
one by one, with the same verdicts.
"""

import ctypes
import hashlib
import struct
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from typing import Final

from chain.primitives.hashes import sha256d
from chain.primitives.sighash import PREIMAGE_BYTES
from chain.primitives.signature import public_key, sign, verify, verify_schnorr

try:
    import btclib_secp256k1 as secp256k1
    from btclib_secp256k1.context import ctx as secp256k1_context

    from chain.llvm.hashing import compiled, host_features
except ImportError:  # no wheel for this platform
    _HAS_LIBRARIES = False
else:
    _HAS_LIBRARIES = True

ECDSA, SCHNORR, ECDSA_OF_PREIMAGE = range(3)  # what a record is, and what its message:
# The digest that was signed, or for the last kind the preimage of BIP143, whose SHA-256d that is.
# Size of the key, key, size of the signature, signature, kind, message. No key has the size 0.
_RECORD: Final = struct.Struct(f"B65sB72sB{PREIMAGE_BYTES}s6x")
_REFUSED: Final = bytes(_RECORD.size)
_KEY_AT: Final = 1
_SIGNATURE_AT: Final = 67
_KIND_AT: Final = 139
_MESSAGE_AT: Final = 140
_X_ONLY_KEY_BYTES: Final = 32
_SCHNORR_BYTES: Final = 64
_KEY_BYTES_MAX: Final = 65
_SIGNATURE_BYTES_MAX: Final = 72  # BIP66, without the hash type's byte
_PARSED_BYTES: Final = 64  # of libsecp256k1's objects for keys and for signatures
_FUNCTIONS: Final = (
    "secp256k1_ec_pubkey_parse",
    "secp256k1_ecdsa_signature_parse_der",
    "secp256k1_ecdsa_signature_normalize",
    "secp256k1_ecdsa_verify",
    "secp256k1_xonly_pubkey_parse",
    "secp256k1_schnorrsig_verify",
)
_LOOP: Final = f"""
declare void @sha256d(ptr, ptr, i64)
declare i32 @secp256k1_ec_pubkey_parse(ptr, ptr, ptr, i64)
declare i32 @secp256k1_ecdsa_signature_parse_der(ptr, ptr, ptr, i64)
declare i32 @secp256k1_ecdsa_signature_normalize(ptr, ptr, ptr)
declare i32 @secp256k1_ecdsa_verify(ptr, ptr, ptr, ptr)
declare i32 @secp256k1_xonly_pubkey_parse(ptr, ptr, ptr)
declare i32 @secp256k1_schnorrsig_verify(ptr, ptr, ptr, i64, ptr)

; Return the index of the first of `count` records that does not verify, or `count`.
define i64 @first_refused(ptr %context, ptr %records, i64 %count) {{
entry:
  %parsed_key = alloca [{_PARSED_BYTES} x i8], align 16
  %parsed_signature = alloca [{_PARSED_BYTES} x i8], align 16
  %hash = alloca [32 x i8], align 16
  br label %next
next:
  %index = phi i64 [0, %entry], [%following, %verified]
  %more = icmp ult i64 %index, %count
  br i1 %more, label %look, label %done
look:
  %offset = mul i64 %index, {_RECORD.size}
  %key_size_at = getelementptr i8, ptr %records, i64 %offset
  %key = getelementptr i8, ptr %key_size_at, i64 {_KEY_AT}
  %signature = getelementptr i8, ptr %key_size_at, i64 {_SIGNATURE_AT}
  %message = getelementptr i8, ptr %key_size_at, i64 {_MESSAGE_AT}
  %kind_at = getelementptr i8, ptr %key_size_at, i64 {_KIND_AT}
  %kind = load i8, ptr %kind_at
  %is_schnorr = icmp eq i8 %kind, {SCHNORR}
  br i1 %is_schnorr, label %parse_x_only_key, label %parse_key
parse_x_only_key:
  %is_x = call i32 @secp256k1_xonly_pubkey_parse(ptr %context, ptr %parsed_key, ptr %key)
  %is_no_x = icmp eq i32 %is_x, 0
  br i1 %is_no_x, label %done, label %verify_schnorr
verify_schnorr:
  %is_right_schnorr = call i32 @secp256k1_schnorrsig_verify(
    ptr %context, ptr %signature, ptr %message, i64 32, ptr %parsed_key)
  %is_wrong_schnorr = icmp eq i32 %is_right_schnorr, 0
  br i1 %is_wrong_schnorr, label %done, label %verified
parse_key:
  %key_size = load i8, ptr %key_size_at
  %key_bytes = zext i8 %key_size to i64
  %is_key = call i32 @secp256k1_ec_pubkey_parse(
    ptr %context, ptr %parsed_key, ptr %key, i64 %key_bytes)
  %is_no_key = icmp eq i32 %is_key, 0
  br i1 %is_no_key, label %done, label %parse_signature
parse_signature:
  %signature_size_at = getelementptr i8, ptr %key_size_at, i64 {_SIGNATURE_AT - 1}
  %signature_size = load i8, ptr %signature_size_at
  %signature_bytes = zext i8 %signature_size to i64
  %is_signature = call i32 @secp256k1_ecdsa_signature_parse_der(
    ptr %context, ptr %parsed_signature, ptr %signature, i64 %signature_bytes)
  %is_no_signature = icmp eq i32 %is_signature, 0
  br i1 %is_no_signature, label %done, label %look_at_message
look_at_message:
  %is_preimage = icmp eq i8 %kind, {ECDSA_OF_PREIMAGE}
  br i1 %is_preimage, label %hash_preimage, label %verify
hash_preimage:
  call void @sha256d(ptr %hash, ptr %message, i64 {PREIMAGE_BYTES})
  br label %verify
verify:
  %digest = phi ptr [%message, %look_at_message], [%hash, %hash_preimage]
  call i32 @secp256k1_ecdsa_signature_normalize( ; high S is valid in consensus
    ptr %context, ptr %parsed_signature, ptr %parsed_signature)
  %is_right = call i32 @secp256k1_ecdsa_verify(
    ptr %context, ptr %parsed_signature, ptr %digest, ptr %parsed_key)
  %is_wrong = icmp eq i32 %is_right, 0
  br i1 %is_wrong, label %done, label %verified
verified:
  %following = add i64 %index, 1
  br label %next
done:
  ret i64 %index
}}
"""

# Key, signature without hash type, message, kind. Of SCHNORR, the key is x-only and the signature
# has 64 bytes; else that is DER.
Record = tuple[bytes, bytes, bytes, int]
Batch = Callable[[], int | None]  # verifies when called; gives the index of the first that fails


# BIP340's first test vector.
_BIP340_KEY: Final = bytes.fromhex(
    "f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9"
)
_BIP340_SIGNATURE: Final = bytes.fromhex(
    "e907831f80848d1069a5371b402410364bdf1c5f8307b0084c55f1ce2dca8215"
    "25f66a4a85ea8b71e482a74f382d2ce5ebeee8fdb2172f477df4900d310536c0"
)


class BatchError(Exception):
    """Signatures cannot be verified in batches on this machine."""


def batch(records: Sequence[Record]) -> Batch:
    """Return the verification of these records, for any thread to call.

    Its answer is the index of the first that `is_right` refuses, or None.
    """
    compiled = _compiled_or_none()
    if compiled is None:
        return partial(first_refused_singly, records)
    return partial(compiled.first_refused, pack(records))


def first_refused_singly(records: Sequence[Record]) -> int | None:
    """Return the index of the first record that does not verify, or None, one call for each."""
    for index, record in enumerate(records):
        if not is_right(record):
            return index
    return None


def is_right(record: Record) -> bool:
    """Return whether a record's signature is right: see `signature.verify`, `verify_schnorr`."""
    key, signature, message, kind = record
    if kind == SCHNORR:
        return verify_schnorr(key, signature, message)
    digest = sha256d(message) if kind == ECDSA_OF_PREIMAGE else message
    return verify(key, signature, digest)


def pack(records: Iterable[Record]) -> bytes:
    """Return the bytes that `CompiledLoop` reads."""
    pack_one = _RECORD.pack
    packed = []
    for key, signature, message, kind in records:
        key_size, signature_size = len(key), len(signature)
        if kind == SCHNORR:
            is_possible = (key_size, signature_size) == (_X_ONLY_KEY_BYTES, _SCHNORR_BYTES)
        else:
            is_possible = key_size <= _KEY_BYTES_MAX and signature_size <= _SIGNATURE_BYTES_MAX
        if not is_possible:
            packed.append(_REFUSED)
            continue
        packed.append(pack_one(key_size, key, signature_size, signature, kind, message))
    return b"".join(packed)


class CompiledLoop:
    """The loop over records; made once, used by any number of threads."""

    def __init__(self) -> None:
        """Compile (about 10 ms) and compare with single calls. Raises BatchError."""
        if not _HAS_LIBRARIES:
            raise BatchError("llvmlite or libsecp256k1 is missing")
        ffi = secp256k1.ffi
        names = ("secp256k1_pubkey", "secp256k1_ecdsa_signature", "secp256k1_xonly_pubkey")
        sizes = {ffi.sizeof(name) for name in names}
        if sizes != {_PARSED_BYTES}:
            raise BatchError(f"libsecp256k1's objects have {sizes} bytes")
        self._context = int(ffi.cast("uintptr_t", secp256k1_context))
        try:
            self._engine = compiled(_LOOP, host_features(), _addresses())
        except RuntimeError as error:
            raise BatchError(f"LLVM: {error}") from error
        prototype = ctypes.CFUNCTYPE(
            ctypes.c_int64, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int64
        )
        self._call = prototype(self._engine.get_function_address("first_refused"))
        records = _test_records()
        for start in range(len(records)):
            some = records[start:]
            if self.first_refused(pack(some)) != first_refused_singly(some):
                raise BatchError("the compiled loop and single calls disagree")

    def first_refused(self, records: bytes) -> int | None:
        """Return the index of the first record that does not verify, or None."""
        count = len(records) // _RECORD.size
        index: int = self._call(self._context, records, count)
        return None if index == count else index


def compile_loop() -> None:
    """Compile now what `batch` would compile on its first call."""
    _compiled_or_none()


@lru_cache(maxsize=1)
def _compiled_or_none() -> CompiledLoop | None:
    try:
        return CompiledLoop()
    except BatchError as error:
        warnings.warn(f"signatures are verified one by one: {error}", stacklevel=3)
        return None


def _test_records() -> list[Record]:
    """Return a record for each way through the loop, good ones behind the bad."""
    private = hashlib.sha256(b"groat").digest()
    digest, other = hashlib.sha256(b"one").digest(), hashlib.sha256(b"two").digest()
    key, signature = public_key(private), sign(private, digest)
    no_point = b"\x02" + b"\xff" * 32
    x_only, schnorr = _BIP340_KEY, _BIP340_SIGNATURE  # of 32 zeros
    preimage = bytes(range(PREIMAGE_BYTES))
    of_preimage = sign(private, sha256d(preimage))
    return [
        (key, signature, other, ECDSA),
        (no_point, signature, digest, ECDSA),
        (key, signature[:-1], digest, ECDSA),
        (key, signature + bytes(9), digest, ECDSA),
        (key[:-1], signature, digest, ECDSA),
        (b"", b"", digest, ECDSA),
        (x_only, schnorr, digest, SCHNORR),
        (no_point[1:], schnorr, bytes(32), SCHNORR),
        (x_only, schnorr, bytes(32), ECDSA),
        (key, signature, digest, SCHNORR),
        (key, of_preimage, preimage[:-1] + b"\0", ECDSA_OF_PREIMAGE),
        (key, of_preimage, sha256d(preimage) + bytes(150), ECDSA_OF_PREIMAGE),
        (x_only, schnorr, bytes(32), SCHNORR),
        (key, of_preimage, preimage, ECDSA_OF_PREIMAGE),
        (key, signature, digest, ECDSA),
        (key, sign(private, other), other, ECDSA),
    ]


def _addresses() -> dict[str, int]:
    """Return where the functions of libsecp256k1 are."""
    ffi, library = secp256k1.ffi, secp256k1.lib
    return {name: int(ffi.cast("uintptr_t", ffi.addressof(library, name))) for name in _FUNCTIONS}
