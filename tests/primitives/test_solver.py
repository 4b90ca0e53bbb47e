"""Output types, bare multisig, and dust."""

import pytest

from chain.primitives.dust import dust_threshold
from chain.primitives.script import ScriptKind, multisig_numbers, push, script_kind
from chain.primitives.solver import OutputType, output_type

KEY = b"\x02" + bytes(32)
LONG_KEY = b"\x04" + bytes(64)


def multisig(required: int, keys: list[bytes], count: int | None = None) -> bytes:
    number = len(keys) if count is None else count
    return b"%c%b%c\xae" % (0x50 + required, b"".join(map(push, keys)), 0x50 + number)


@pytest.mark.parametrize(
    ("script", "kind", "dust"),
    [
        (b"\x76\xa9\x14" + bytes(20) + b"\x88\xac", OutputType.PUBKEYHASH, 546),
        (b"\xa9\x14" + bytes(20) + b"\x87", OutputType.SCRIPTHASH, 540),
        (b"\x00\x14" + bytes(20), OutputType.WITNESS_V0_KEYHASH, 294),
        (b"\x00\x20" + bytes(32), OutputType.WITNESS_V0_SCRIPTHASH, 330),
        (b"\x51\x20" + bytes(32), OutputType.WITNESS_V1_TAPROOT, 330),
        (b"\x51\x02\x4e\x73", OutputType.ANCHOR, 240),
        (b"\x51\x02\x4e\x74", OutputType.WITNESS_UNKNOWN, 240),
        (b"\x52\x20" + bytes(32), OutputType.WITNESS_UNKNOWN, 330),
        (b"\x00\x15" + bytes(21), OutputType.NONSTANDARD, 297),
        (push(KEY) + b"\xac", OutputType.PUBKEY, 576),
        (push(LONG_KEY) + b"\xac", OutputType.PUBKEY, 672),
        (push(b"\x05" + bytes(32)) + b"\xac", OutputType.NONSTANDARD, 576),
        (b"\x6a", OutputType.NULL_DATA, 0),
        (b"\x6a\x60\x02ab", OutputType.NULL_DATA, 0),
        (b"\x6a\x61", OutputType.NONSTANDARD, 0),
        (b"\x6a\x02a", OutputType.NONSTANDARD, 0),
        (multisig(1, [KEY]), OutputType.MULTISIG, 582),
        (b"", OutputType.NONSTANDARD, 471),
        (b"\x51", OutputType.NONSTANDARD, 474),
    ],
)
def test_types_and_dust_are_bitcoins(script, kind, dust):
    assert output_type(script) is kind
    assert dust_threshold(script) == dust


@pytest.mark.parametrize(
    ("script", "numbers"),
    [
        (multisig(1, [KEY, LONG_KEY]), (1, 2)),
        (multisig(3, [KEY] * 3), (3, 3)),
        (multisig(16, [KEY] * 16), (16, 16)),
        (b"\x01\x11" + push(KEY) * 20 + b"\x01\x14\xae", (17, 20)),
        (b"\x51" + push(KEY) * 21 + b"\x01\x15\xae", None),
        (b"\x01\x01" + push(KEY) + b"\x51\xae", None),  # not the shortest form of 1
        (multisig(2, [KEY]), None),
        (multisig(1, [KEY], count=2), None),
        (multisig(1, [KEY[:32]]), None),
        (b"\x00" + push(KEY) + b"\x51\xae", None),
        (b"\x51\x51\xae", None),
        (b"\xae", None),
        (b"\x51" + push(KEY) + b"\x02\x51\xae", None),  # a push takes the last operation
        (b"\x51" + push(KEY) * 2_000 + b"\x51\xae", None),
    ],
)
def test_a_bare_multisig_is_told_by_its_numbers_and_keys(script, numbers):
    assert multisig_numbers(script) == numbers
    is_multisig = script_kind(script) is ScriptKind.MULTISIG
    assert is_multisig is (numbers is not None)
