"""Scripts as data: their templates, their operations, how many signature checks they hold.

Nothing is run here; `chain.script` does that.
"""

import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from functools import lru_cache
from typing import Final

SCRIPT_BYTES_MAX: Final = 10_000  # Bitcoin: MAX_SCRIPT_SIZE; a longer one can never be spent

OP_0: Final = 0x00
OP_PUSHDATA1: Final = 0x4C
OP_PUSHDATA2: Final = 0x4D
OP_PUSHDATA4: Final = 0x4E
OP_1NEGATE: Final = 0x4F
_OP_RESERVED: Final = 0x50
OP_1: Final = 0x51
OP_16: Final = 0x60
_OP_NOP: Final = 0x61
OP_RETURN: Final = 0x6A
OP_CHECKSIG: Final = 0xAC
OP_CHECKMULTISIG: Final = 0xAE
_MULTISIG_KEYS_MAX: Final = 20  # Bitcoin: MAX_PUBKEYS_PER_MULTISIG
_CHECKMULTISIG: Final = bytes([OP_CHECKMULTISIG])
_MULTISIG_BYTES_MAX: Final = 1_410  # 20 keys of 65 bytes, their pushes as long as can be
_ANCHOR_SCRIPT: Final = b"\x51\x02\x4e\x73"


class ScriptKind(StrEnum):
    """The kind of a script; the text is that of Esplora (ANCHOR's: mempool's)."""

    P2WPKH = "v0_p2wpkh"
    P2WSH = "v0_p2wsh"
    P2TR = "v1_p2tr"
    P2PKH = "p2pkh"
    P2SH = "p2sh"
    P2PK = "p2pk"
    MULTISIG = "multisig"
    ANCHOR = "anchor"
    OP_RETURN = "op_return"
    EMPTY = "empty"
    UNKNOWN = "unknown"


def p2wpkh_script(key_hash: bytes) -> bytes:
    """Return the script that pays to the key whose HASH160 (20 bytes) is given (BIP141)."""
    assert len(key_hash) == 20, "a key hash has 20 bytes"
    return b"\x00\x14" + key_hash


def p2pkh_script(key_hash: bytes) -> bytes:
    """Return the script that pays to the key whose HASH160 (20 bytes) is given."""
    return b"\x76\xa9\x14" + key_hash + b"\x88\xac"


def p2sh_script(script_hash: bytes) -> bytes:
    """Return the script that pays to the script whose HASH160 (20 bytes) is given (BIP16)."""
    return b"\xa9\x14" + script_hash + b"\x87"


def is_p2wpkh(script: bytes) -> bool:
    """Return whether `script` pays to the hash of a key (BIP141)."""
    return len(script) == 22 and script.startswith(b"\x00\x14")


def p2wpkh_key_hash(script: bytes) -> bytes | None:
    """Return the 20-byte key hash if `script` is P2WPKH, else None."""
    return script[2:] if is_p2wpkh(script) else None


def is_unspendable(script: bytes) -> bool:
    """Return whether `script` can never be spent, so that it stays out of the coin set.

    Bitcoin: CScript::IsUnspendable.
    """
    return script.startswith(b"\x6a") or len(script) > SCRIPT_BYTES_MAX


def push(data: bytes) -> bytes:
    """Return the operation that pushes `data`, its size in the shortest form.

    Bitcoin: `CScript() << data`, which pushes a small number as a byte, too.
    """
    size = len(data)
    if size < OP_PUSHDATA1:
        return bytes([size]) + data
    if size <= 0xFF:
        return bytes([OP_PUSHDATA1, size]) + data
    if size <= 0xFFFF:
        return bytes([OP_PUSHDATA2]) + size.to_bytes(2, "little") + data
    return bytes([OP_PUSHDATA4]) + size.to_bytes(4, "little") + data


def push_number(number: int) -> bytes:
    """Return what Bitcoin's `CScript() << number` is, for a height >= 0 (BIP34)."""
    if number == 0:
        return b"\x00"
    if number <= 16:
        return bytes([OP_1 + number - 1])
    width = number.bit_length() // 8 + 1  # one bit more than the number, for the sign
    return push(number.to_bytes(width, "little"))


def op_return(data: bytes) -> bytes:
    """Return the unspendable script that carries `data`."""
    return bytes([OP_RETURN]) + push(data)


def script_kind(script: bytes) -> ScriptKind:  # noqa: C901, PLR0911 - one line for each kind
    """Return the kind of `script`, by its exact template."""
    size = len(script)
    if not script:
        return ScriptKind.EMPTY
    if script[0] == OP_RETURN:
        return ScriptKind.OP_RETURN
    if is_p2wpkh(script):
        return ScriptKind.P2WPKH
    if size == 34 and script.startswith(b"\x00\x20"):
        return ScriptKind.P2WSH
    if size == 34 and script.startswith(b"\x51\x20"):
        return ScriptKind.P2TR
    if is_p2pkh(script):
        return ScriptKind.P2PKH
    if is_p2sh(script):
        return ScriptKind.P2SH
    if size in {35, 67} and script[0] == size - 2 and script[-1] == OP_CHECKSIG:
        return ScriptKind.P2PK
    if is_anchor(script):
        return ScriptKind.ANCHOR
    return ScriptKind.MULTISIG if is_multisig(script) else ScriptKind.UNKNOWN


def witness_program(script: bytes) -> tuple[int, bytes] | None:
    """Return version (0 to 16) and program (2 to 40 bytes) if `script` is a witness program.

    BIP141; Bitcoin: CScript::IsWitnessProgram.
    """
    if not 4 <= len(script) <= 42 or script[1] + 2 != len(script):
        return None
    opcode = script[0]
    if opcode == OP_0:
        return 0, script[2:]
    return (opcode - OP_1 + 1, script[2:]) if OP_1 <= opcode <= OP_16 else None


def is_p2pkh(script: bytes) -> bool:
    """Return whether `script` pays to the hash of a key with signature and key, by its bytes."""
    return len(script) == 25 and script.startswith(b"\x76\xa9\x14") and script.endswith(b"\x88\xac")


def is_anchor(script: bytes) -> bool:
    """Return whether `script` is an anchor, which anyone may spend (P2A)."""
    return script == _ANCHOR_SCRIPT


def is_multisig(script: bytes) -> bool:
    """Return whether `script` is a bare multisig, m of n with n of 1 to 20 keys.

    Bitcoin: MatchMultisig.
    """
    return multisig_numbers(script) is not None


def multisig_numbers(script: bytes) -> tuple[int, int] | None:
    """Return m and n of a bare multisig, or None. Bitcoin: MatchMultisig."""
    if not script.endswith(_CHECKMULTISIG) or len(script) > _MULTISIG_BYTES_MAX:
        return None
    found = list(operations(script[:-1]))
    if len(found) < 3:
        return None
    required, count = _small_number(*found[0]), _small_number(*found[-1])
    keys = [data for _, data in found[1:-1]]
    if not 1 <= required <= count <= _MULTISIG_KEYS_MAX or len(keys) != count:
        return None
    written = sum(_LENGTH_BYTES[opcode] + 1 + len(data or b"") for opcode, data in found)
    is_whole = written == len(script) - 1 and all(key and is_key_form(key) for key in keys)
    return (required, count) if is_whole else None


def is_key_form(data: bytes) -> bool:
    """Return whether `data` has the size that its first byte says of a public key.

    Bitcoin: CPubKey::ValidSize.
    """
    size = len(data)
    return (size == 33 and data[0] in {2, 3}) or (size == 65 and data[0] in {4, 6, 7})


def _small_number(opcode: int, data: bytes | None) -> int:
    """Return the number that an operation pushes, in shortest form, or 0 (GetScriptNumber)."""
    if OP_1 <= opcode <= OP_16:
        return opcode - OP_1 + 1
    is_longer = opcode == 1 and data is not None and data[0] in range(17, 128)
    return data[0] if is_longer and data is not None else 0


def is_p2sh(script: bytes) -> bool:
    """Return whether `script` pays to the hash of a script (BIP16), by its exact bytes."""
    return len(script) == 23 and script.startswith(b"\xa9\x14") and script.endswith(b"\x87")


def last_push(script: bytes) -> bytes | None:
    """Return what the last operation of `script` pushes, or None if it does more than push.

    OP_1NEGATE, OP_RESERVED and OP_1 to OP_16 count as pushes of no bytes, and so does an empty
    script; a truncated push does not. Bitcoin: CScript::IsPushOnly, and the loop of
    GetSigOpCount(scriptSig).
    """
    at, data = 0, b""
    while at < len(script):
        operation = read_operation(script, at)
        if operation is None or operation[0] > OP_16:
            return None
        _, pushed, at = operation
        data = pushed or b""
    return data


def read_operation(script: bytes, at: int) -> tuple[int, bytes | None, int] | None:
    """Return the operation at offset `at`: opcode, pushed bytes or None, the next offset.

    The offset is inside the script. None: the script ends before the push does (Bitcoin:
    CScript::GetOp).
    """
    opcode = script[at]
    at += 1
    if opcode > OP_PUSHDATA4:
        return opcode, None, at
    size = opcode
    if opcode >= OP_PUSHDATA1:
        width = 1 << (opcode - OP_PUSHDATA1)
        if at + width > len(script):
            return None
        size = int.from_bytes(script[at : at + width], "little")
        at += width
    end = at + size
    return (opcode, script[at:end], end) if end <= len(script) else None


def skip_operations(script: bytes, at: int, end: int, stops: bytes = b"") -> int:
    """Return the offset of the first operation from `at` on that does not end by `end`, or `end`.

    Any of the opcodes `stops`, which push nothing, is one, too. Nearly all the work is one call of
    a regular expression: a script may have 10,000 operations in a branch that is not executed, and
    each of a hundred signature checks looks at all of them.
    """
    pattern = _skipped(stops)
    while (at := _matched(pattern, script, at, end)) < end:
        if script[at] > OP_PUSHDATA4:
            break
        operation = read_operation(script, at)  # a push that the pattern leaves out
        if operation is None or operation[2] > end:
            break
        at = operation[2]
    return at


def operations(script: bytes) -> Iterator[tuple[int, bytes | None]]:
    """Yield each (opcode, pushed bytes or None), up to a push that the script's end cuts short."""
    at = 0
    while at < len(script) and (operation := read_operation(script, at)) is not None:
        opcode, data, at = operation
        yield opcode, data


def count_sigops(script: bytes, *, accurate: bool = False) -> int:
    """Return how many signature operations a script holds; a push cut short ends the count.

    A multisig counts 20, or, if `accurate`, the number of keys where OP_1 to OP_16 right before it
    tells it (Bitcoin: CScript::GetSigOpCount).
    """
    if len(script) == 22 and script.startswith(b"\x00\x14"):
        return 0  # P2WPKH, which has only data
    if (
        OP_CHECKSIG not in script
        and 0xAD not in script
        and 0xAE not in script
        and 0xAF not in script
    ):
        return 0  # the usual case, 20 times faster
    count, before = 0, OP_0
    for opcode, _ in operations(script):
        if opcode in {OP_CHECKSIG, OP_CHECKSIG + 1}:
            count += 1
        elif opcode in {OP_CHECKMULTISIG, OP_CHECKMULTISIG + 1}:
            is_known = accurate and OP_1 <= before <= OP_16
            count += before - OP_1 + 1 if is_known else _MULTISIG_KEYS_MAX
        before = opcode
    return count


def script_text(script: bytes) -> str:
    """Return the operations as Esplora prints them (rust-bitcoin's names)."""
    if is_p2wpkh(script):  # nearly all are
        return f"OP_0 OP_PUSHBYTES_20 {script[2:].hex()}"
    words, seen = [], 0
    for opcode, data in operations(script):
        words.append(_WORDS[opcode])
        seen += 1 + _LENGTH_BYTES[opcode]
        if data:
            seen += len(data)
            words.append(data.hex())
    if seen < len(script):
        words.append("<push past end>")
    return " ".join(words)


def _length_bytes(opcode: int) -> int:
    return 1 << (opcode - OP_PUSHDATA1) if OP_PUSHDATA1 <= opcode <= OP_PUSHDATA4 else 0


def _word(opcode: int) -> str:
    if opcode == OP_0:
        return "OP_0"
    if opcode < OP_PUSHDATA1:
        return f"OP_PUSHBYTES_{opcode}"
    if opcode <= OP_PUSHDATA4:
        return f"OP_PUSHDATA{_length_bytes(opcode)}"
    if OP_1 <= opcode <= OP_16:
        return f"OP_PUSHNUM_{opcode - OP_1 + 1}"
    return f"OP_{_NAMES.get(opcode, f'RETURN_{opcode}')}"


# rust-bitcoin's names from OP_NOP on, where Bitcoin Core has CHECKLOCKTIMEVERIFY for CLTV.
_NAMES_FROM_NOP: Final = (
    "NOP VER IF NOTIF VERIF VERNOTIF ELSE ENDIF VERIFY RETURN TOALTSTACK FROMALTSTACK "
    "2DROP 2DUP 3DUP 2OVER 2ROT 2SWAP IFDUP DEPTH DROP DUP NIP OVER PICK ROLL ROT SWAP TUCK "
    "CAT SUBSTR LEFT RIGHT SIZE INVERT AND OR XOR EQUAL EQUALVERIFY RESERVED1 RESERVED2 "
    "1ADD 1SUB 2MUL 2DIV NEGATE ABS NOT 0NOTEQUAL ADD SUB MUL DIV MOD LSHIFT RSHIFT "
    "BOOLAND BOOLOR NUMEQUAL NUMEQUALVERIFY NUMNOTEQUAL LESSTHAN GREATERTHAN "
    "LESSTHANOREQUAL GREATERTHANOREQUAL MIN MAX WITHIN RIPEMD160 SHA1 SHA256 HASH160 HASH256 "
    "CODESEPARATOR CHECKSIG CHECKSIGVERIFY CHECKMULTISIG CHECKMULTISIGVERIFY "
    "NOP1 CLTV CSV NOP4 NOP5 NOP6 NOP7 NOP8 NOP9 NOP10 CHECKSIGADD"
)
_NAMES: Final = {
    OP_1NEGATE: "PUSHNUM_NEG1",
    _OP_RESERVED: "RESERVED",
    **dict(enumerate(_NAMES_FROM_NOP.split(), _OP_NOP)),
    0xFF: "INVALIDOPCODE",
}
_WORDS: Final = tuple(map(_word, range(256)))
_LENGTH_BYTES: Final = tuple(map(_length_bytes, range(256)))


def _matched(pattern: re.Pattern[bytes], script: bytes, at: int, end: int) -> int:
    match = pattern.match(script, at, end)
    assert match is not None, "it matches no operation, too"
    return match.end()


@lru_cache(maxsize=4)
def _skipped(stops: bytes) -> re.Pattern[bytes]:
    """Return what matches operations in a row: all except PUSHDATA4 and pushes of over 255 bytes.

    Made when first needed, in 40 ms.
    """
    skipped = {OP_0, *range(OP_PUSHDATA4 + 1, 256)}.difference(stops)
    words = b"[" + b"".join([re.escape(bytes([opcode])) for opcode in sorted(skipped)]) + b"]"
    pushes = [
        _push_pattern(bytes([OP_PUSHDATA1]), 1, range(256)),
        _push_pattern(bytes([OP_PUSHDATA2]), 2, range(256)),
        _push_pattern(b"", 1, range(1, OP_PUSHDATA1)),  # the opcode is the size
    ]
    return re.compile(b"(?:" + b"|".join([words, *pushes]) + b")*+", re.DOTALL)


def _push_pattern(opcode: bytes, width: int, sizes: Iterable[int]) -> bytes:
    each = [re.escape(size.to_bytes(width, "little")) + b".{%d}" % size for size in sizes]
    return re.escape(opcode) + b"(?:" + b"|".join(each) + b")"
