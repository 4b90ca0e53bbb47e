"""The operations that check signatures."""

from typing import Final

from chain.primitives.script import push, read_operation, skip_operations
from chain.primitives.signature import has_key_size
from chain.script.checks import check_key_encoding, check_schnorr, check_signature_encoding
from chain.script.errors import ScriptError, fail
from chain.script.flags import ScriptVersion, VerifyFlags
from chain.script.machine import Machine
from chain.script.taproot import Tapscript

MULTISIG_KEYS_MAX: Final = 20
_SIGNATURE_WEIGHT: Final = 50  # BIP342: cost of each signature in the budget
_KEY_VERSION: Final = b"\x00"  # BIP342

_NULLFAIL: Final[int] = VerifyFlags.NULLFAIL.value
_NULLDUMMY: Final[int] = VerifyFlags.NULLDUMMY.value
_CONST_SCRIPTCODE: Final[int] = VerifyFlags.CONST_SCRIPTCODE.value
_DISCOURAGE_KEYS: Final[int] = VerifyFlags.DISCOURAGE_UPGRADABLE_PUBKEYTYPE.value


def check_sig(machine: Machine) -> None:
    """OP_CHECKSIG: signature, key -- whether it is valid."""
    # As the last operation of the deciding script, its result is the spend's.
    is_decisive = machine.decides and machine.at == len(machine.script)
    key, signature = machine.stack.pop(), machine.stack.pop()
    machine.push_bool(_is_signed(machine, key, signature, is_decisive=is_decisive))


def check_sig_verify(machine: Machine) -> None:
    """OP_CHECKSIGVERIFY: signature, key --."""
    key, signature = machine.stack.pop(), machine.stack.pop()
    if not _is_signed(machine, key, signature, is_decisive=True):
        fail(ScriptError.CHECKSIGVERIFY)


def check_sig_add(machine: Machine) -> None:
    """OP_CHECKSIGADD (BIP342): signature, number, key -- number, plus 1 if it is valid."""
    if machine.version is not ScriptVersion.TAPSCRIPT:
        fail(ScriptError.BAD_OPCODE)
    machine.check_depth(3)
    key, number, signature = machine.stack.pop(), machine.pop_number(), machine.stack.pop()
    machine.push_number(number + _is_signed(machine, key, signature, is_decisive=True))


def check_multisig(machine: Machine) -> None:
    """OP_CHECKMULTISIG: dummy, signatures, their number, keys, their number -- whether valid."""
    machine.push_bool(_is_multisigned(machine))


def check_multisig_verify(machine: Machine) -> None:
    """OP_CHECKMULTISIGVERIFY: the same, without a result."""
    if not _is_multisigned(machine):
        fail(ScriptError.CHECKMULTISIGVERIFY)


def without_signature(script_code: bytes, signature: bytes) -> bytes:
    """Return a script code without the shortest pushes of `signature`.

    Bitcoin: FindAndDelete, still part of the rules for scripts without witness.
    """
    pattern = push(signature)
    if pattern not in script_code:
        return script_code
    parts, start, at = [], 0, 0
    while (found := script_code.find(pattern, at)) >= 0:
        at = skip_operations(script_code, at, found)
        if at == found:
            parts.append(script_code[start:at])
            start = at = at + len(pattern)
            continue
        operation = read_operation(script_code, at)  # it contains the pattern
        if operation is None:
            break
        at = operation[2]
    return b"".join(parts) + script_code[start:]


def _is_signed(machine: Machine, key: bytes, signature: bytes, *, is_decisive: bool) -> bool:
    """Return whether one signature is valid (Bitcoin: EvalChecksig)."""
    if machine.tapscript is not None:
        return _is_signed_in_tapscript(machine, machine.tapscript, key, signature)
    script_code = _code_without(machine, [signature])
    _check_encodings(machine, key, signature)
    is_valid = _is_ecdsa(machine, key, signature, script_code, is_decisive=is_decisive)
    if not is_valid and signature and machine.flags & _NULLFAIL:
        fail(ScriptError.NULLFAIL)
    return is_valid


def _is_signed_in_tapscript(
    machine: Machine, tapscript: Tapscript, key: bytes, signature: bytes
) -> bool:
    """Return whether there is a signature; an invalid one fails (BIP342)."""
    if signature:
        tapscript.budget -= _SIGNATURE_WEIGHT
        if tapscript.budget < 0:
            fail(ScriptError.TAPSCRIPT_VALIDATION_WEIGHT)
    if not key:
        fail(ScriptError.TAPSCRIPT_EMPTY_PUBKEY)
    if len(key) != 32:  # an unknown key type: every signature is valid
        if machine.flags & _DISCOURAGE_KEYS:
            fail(ScriptError.DISCOURAGE_UPGRADABLE_PUBKEYTYPE)
    elif signature:
        separator = machine.separator.to_bytes(4, "little")
        extension = tapscript.leaf_hash + _KEY_VERSION + separator
        check_schnorr(machine.spend, key, signature, tapscript.annex_hash, extension)
    return bool(signature)


def _is_multisigned(machine: Machine) -> bool:
    """Pop a multisig's items; return whether each signature is valid for a key, in order."""
    if machine.version is ScriptVersion.TAPSCRIPT:
        fail(ScriptError.TAPSCRIPT_CHECKMULTISIG)
    key_count = _pop_count(machine, MULTISIG_KEYS_MAX, ScriptError.PUBKEY_COUNT)
    machine.count_operations(key_count)
    keys = _pop_items(machine, key_count)
    signatures = _pop_items(machine, _pop_count(machine, key_count, ScriptError.SIG_COUNT))
    (dummy,) = _pop_items(machine, 1)  # the extra item that Bitcoin has always popped
    is_valid = _match(machine, keys, signatures)
    if not is_valid and machine.flags & _NULLFAIL and any(signatures):
        fail(ScriptError.NULLFAIL)
    if dummy and machine.flags & _NULLDUMMY:
        fail(ScriptError.SIG_NULLDUMMY)
    return is_valid


def _pop_count(machine: Machine, count_max: int, error: ScriptError) -> int:
    machine.check_depth(1)
    count = machine.pop_number()
    if not 0 <= count <= count_max:
        fail(error)
    return count


def _pop_items(machine: Machine, count: int) -> list[bytes]:
    """Pop items, the top one first."""
    machine.check_depth(count)
    return [machine.stack.pop() for _ in range(count)]


def _match(machine: Machine, keys: list[bytes], signatures: list[bytes]) -> bool:
    """Return whether the signatures are valid for a subsequence of the keys, in order.

    Encodings are checked in the order of Bitcoin's search, which ends when too few keys remain.
    """
    script_code = _code_without(machine, signatures)
    key_index = 0
    for position, signature in enumerate(signatures):
        is_valid = False
        while not is_valid:
            if len(signatures) - position > len(keys) - key_index:
                return False
            key = keys[key_index]
            _check_encodings(machine, key, signature)
            is_valid = _is_ecdsa(machine, key, signature, script_code, is_decisive=False)
            key_index += 1
    return True


def _check_encodings(machine: Machine, key: bytes, signature: bytes) -> None:
    check_signature_encoding(signature, machine.flags)
    check_key_encoding(key, machine.flags, machine.version)


def _code_without(machine: Machine, signatures: list[bytes]) -> bytes:
    """Return the script code; without the signatures, unless it is of a witness."""
    script_code = machine.script_code()
    if machine.version is not ScriptVersion.BASE:
        return script_code
    whole = len(script_code)
    for signature in signatures:
        script_code = without_signature(script_code, signature)
    if len(script_code) != whole and machine.flags & _CONST_SCRIPTCODE:
        fail(ScriptError.SIG_FINDANDDELETE)
    return script_code


def _is_ecdsa(
    machine: Machine, key: bytes, signature: bytes, script_code: bytes, *, is_decisive: bool
) -> bool:
    """Return whether an ECDSA signature is valid (Bitcoin: CheckECDSASignature)."""
    if not signature or not has_key_size(key):
        return False
    hashes = machine.spend.hashes
    is_base = machine.version is ScriptVersion.BASE
    digest = (hashes.legacy if is_base else hashes.witness_v0)(script_code, signature[-1])
    return machine.spend.checker.ecdsa(key, signature[:-1], digest, is_decisive=is_decisive)
