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
from typing import Any, Final

from chain.primitives.signature import public_key, sign, verify

try:
    import btclib_secp256k1 as secp256k1
    from btclib_secp256k1.context import ctx as secp256k1_context
    from llvmlite import binding as llvm
except ImportError:  # no wheel for this platform
    _HAS_LIBRARIES = False
else:
    _HAS_LIBRARIES = True

# Size of the key, key, size of the signature, signature, digest. No key has the size 0.
_RECORD: Final = struct.Struct("B65sB72s32s5x")
_KEY_AT: Final = 1
_SIGNATURE_AT: Final = 67
_DIGEST_AT: Final = 139
_KEY_BYTES_MAX: Final = 65
_SIGNATURE_BYTES_MAX: Final = 72  # BIP66, without the hash type's byte
_PARSED_BYTES: Final = 64  # of libsecp256k1's objects for keys and for signatures
_FUNCTIONS: Final = (
    "secp256k1_ec_pubkey_parse",
    "secp256k1_ecdsa_signature_parse_der",
    "secp256k1_ecdsa_signature_normalize",
    "secp256k1_ecdsa_verify",
)
_LOOP: Final = f"""
declare i32 @secp256k1_ec_pubkey_parse(ptr, ptr, ptr, i64)
declare i32 @secp256k1_ecdsa_signature_parse_der(ptr, ptr, ptr, i64)
declare i32 @secp256k1_ecdsa_signature_normalize(ptr, ptr, ptr)
declare i32 @secp256k1_ecdsa_verify(ptr, ptr, ptr, ptr)

; Return the index of the first of `count` records that does not verify, or `count`.
define i64 @first_refused(ptr %context, ptr %records, i64 %count) {{
entry:
  %parsed_key = alloca [{_PARSED_BYTES} x i8], align 16
  %parsed_signature = alloca [{_PARSED_BYTES} x i8], align 16
  br label %next
next:
  %index = phi i64 [0, %entry], [%following, %verified]
  %more = icmp ult i64 %index, %count
  br i1 %more, label %parse_key, label %done
parse_key:
  %offset = mul i64 %index, {_RECORD.size}
  %key_size_at = getelementptr i8, ptr %records, i64 %offset
  %key_size = load i8, ptr %key_size_at
  %key_bytes = zext i8 %key_size to i64
  %key = getelementptr i8, ptr %key_size_at, i64 {_KEY_AT}
  %is_key = call i32 @secp256k1_ec_pubkey_parse(
    ptr %context, ptr %parsed_key, ptr %key, i64 %key_bytes)
  %is_no_key = icmp eq i32 %is_key, 0
  br i1 %is_no_key, label %done, label %parse_signature
parse_signature:
  %signature_size_at = getelementptr i8, ptr %key_size_at, i64 {_SIGNATURE_AT - 1}
  %signature_size = load i8, ptr %signature_size_at
  %signature_bytes = zext i8 %signature_size to i64
  %signature = getelementptr i8, ptr %key_size_at, i64 {_SIGNATURE_AT}
  %is_signature = call i32 @secp256k1_ecdsa_signature_parse_der(
    ptr %context, ptr %parsed_signature, ptr %signature, i64 %signature_bytes)
  %is_no_signature = icmp eq i32 %is_signature, 0
  br i1 %is_no_signature, label %done, label %verify
verify:
  call i32 @secp256k1_ecdsa_signature_normalize( ; high S is valid in consensus
    ptr %context, ptr %parsed_signature, ptr %parsed_signature)
  %digest = getelementptr i8, ptr %key_size_at, i64 {_DIGEST_AT}
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

Triple = tuple[bytes, bytes, bytes]  # key, signature (DER, without hash type), 32-byte digest
Batch = Callable[[], int | None]  # verifies when called; returns the index of the first failure


class BatchError(Exception):
    """Signatures cannot be verified in batches on this machine."""


def batch(triples: Sequence[Triple]) -> Batch:
    """Return a function that verifies these triples, callable on any thread.

    It returns the index of the first that `signature.verify` refuses, or None.
    """
    compiled = _compiled_or_none()
    if compiled is None:
        return partial(first_refused_singly, triples)
    return partial(compiled.first_refused, pack(triples))


def first_refused_singly(triples: Sequence[Triple]) -> int | None:
    """Return the index of the first triple that does not verify, or None; one call for each."""
    for index, (key, signature, digest) in enumerate(triples):
        if not verify(key, signature, digest):
            return index
    return None


def pack(triples: Iterable[Triple]) -> bytes:
    """Return the records that `CompiledLoop` reads."""
    pack_one = _RECORD.pack
    records = []
    for key, signature, digest in triples:
        key_size, signature_size = len(key), len(signature)
        if key_size > _KEY_BYTES_MAX or signature_size > _SIGNATURE_BYTES_MAX:
            key_size = signature_size = 0  # too long for a key or a signature
        records.append(pack_one(key_size, key, signature_size, signature, digest))
    return b"".join(records)


class CompiledLoop:
    """The loop over records; made once, used by any number of threads."""

    def __init__(self) -> None:
        """Compile (about 15 ms) and compare with single calls. Raises BatchError."""
        if not _HAS_LIBRARIES:
            raise BatchError("llvmlite or libsecp256k1 is missing")
        ffi = secp256k1.ffi
        sizes = {ffi.sizeof("secp256k1_pubkey"), ffi.sizeof("secp256k1_ecdsa_signature")}
        if sizes != {_PARSED_BYTES}:
            raise BatchError(f"libsecp256k1's objects have {sizes} bytes")
        self._context = int(ffi.cast("uintptr_t", secp256k1_context))
        try:
            self._engine = _compile()
        except RuntimeError as error:
            raise BatchError(f"LLVM: {error}") from error
        prototype = ctypes.CFUNCTYPE(
            ctypes.c_int64, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int64
        )
        self._call = prototype(self._engine.get_function_address("first_refused"))
        triples = _test_triples()
        for start in range(len(triples)):
            some = triples[start:]
            if self.first_refused(pack(some)) != first_refused_singly(some):
                raise BatchError("the compiled loop and single calls disagree")

    def first_refused(self, records: bytes) -> int | None:
        """Return the index of the first record that does not verify, or None."""
        count = len(records) // _RECORD.size
        index: int = self._call(self._context, records, count)
        return None if index == count else index


@lru_cache(maxsize=1)
def _compiled_or_none() -> CompiledLoop | None:
    try:
        return CompiledLoop()
    except BatchError as error:
        warnings.warn(f"signatures are verified one by one: {error}", stacklevel=3)
        return None


def _test_triples() -> list[Triple]:
    """Return a triple for each path through the loop, valid ones last."""
    private = hashlib.sha256(b"groat").digest()
    digest, other = hashlib.sha256(b"one").digest(), hashlib.sha256(b"two").digest()
    key, signature = public_key(private), sign(private, digest)
    no_point = b"\x02" + b"\xff" * 32
    return [
        (key, signature, other),
        (no_point, signature, digest),
        (key, signature[:-1], digest),
        (key, signature + bytes(9), digest),
        (key[:-1], signature, digest),
        (b"", b"", digest),
        (key, signature, digest),
        (key, sign(private, other), other),
    ]


def _compile() -> Any:  # noqa: ANN401 - llvmlite has no types
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = llvm.parse_assembly(_LOOP)
    machine = llvm.Target.from_default_triple().create_target_machine(opt=1)
    engine = llvm.create_mcjit_compiler(module, machine)
    ffi, library = secp256k1.ffi, secp256k1.lib
    for name in _FUNCTIONS:
        address = int(ffi.cast("uintptr_t", ffi.addressof(library, name)))
        engine.add_global_mapping(module.get_function(name), address)
    engine.finalize_object()
    return engine
