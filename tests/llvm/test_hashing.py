"""Compiled SHA-256 is hashlib's, with the processor's instructions for it and without."""

import ctypes
import hashlib
import os

import pytest
from llvmlite import binding

from chain.llvm.hashing import DECLARATIONS, compiled, host_features
from chain.primitives.hashes import sha256d

CALLERS = f"""{DECLARATIONS}
define void @once(ptr %out, ptr %data, i64 %size) {{
  call void @sha256(ptr %out, ptr %data, i64 %size)
  ret void
}}
define void @twice(ptr %out, ptr %data, i64 %size) {{
  call void @sha256d(ptr %out, ptr %data, i64 %size)
  ret void
}}
"""


@pytest.fixture(scope="module", params=["this processor", "without SHA instructions"])
def engine(request):
    features = host_features()
    if request.param != "this processor":
        features["sha"] = False
    return compiled(CALLERS, features)


def function(engine, name):
    prototype = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int64)
    call = prototype(engine.get_function_address(name))

    def hash_of(data: bytes) -> bytes:
        out = ctypes.create_string_buffer(32)
        call(out, data, len(data))
        return out.raw

    return hash_of


def test_messages_of_every_length_have_their_hash(engine):
    once, twice = function(engine, "once"), function(engine, "twice")
    for size in [*range(260), 1_000, 100_000]:
        data = os.urandom(size)
        assert once(data) == hashlib.sha256(data).digest()
        assert twice(data) == sha256d(data)


def test_the_hash_may_be_written_over_the_message(engine):
    prototype = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int64)
    call = prototype(engine.get_function_address("twice"))
    data = os.urandom(150)
    place = ctypes.create_string_buffer(data, len(data))
    call(place, place, len(data))
    assert place.raw == sha256d(data) + data[32:]


def test_code_that_is_no_code_is_an_error_that_can_be_caught():
    with pytest.raises(RuntimeError):
        compiled("define void @f() { nonsense }", host_features())
    assert binding.get_host_cpu_name()
