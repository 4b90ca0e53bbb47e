"""Whether an input may spend its coin: the only entry point of the engine."""

from collections.abc import Sequence
from typing import Final

from chain.primitives.hashes import sha256
from chain.primitives.script import (
    is_p2sh,
    last_push,
    push,
    read_operation,
    skip_operations,
    witness_program,
)
from chain.script.checks import Checker, Spend, check_schnorr
from chain.script.errors import ScriptError, fail
from chain.script.flags import ScriptVersion, VerifyFlags
from chain.script.hashes import InputHashes, TransactionHashes
from chain.script.interpreter import run
from chain.script.machine import ITEM_BYTES_MAX, STACK_ITEMS_MAX, Machine
from chain.script.number import as_bool
from chain.script.opcodes import SUCCESS
from chain.script.taproot import (
    TAPSCRIPT_LEAF,
    Tapscript,
    committed_leaf,
    leaf_version,
    signature_budget,
    split_annex,
)

_ANCHOR: Final = (1, b"\x4e\x73")  # P2A: any transaction may spend it
_KEY_HASH_BYTES: Final = 20
_SCRIPT_HASH_BYTES: Final = 32
_OUTPUT_KEY_BYTES: Final = 32
_SUCCESS: Final = bytes(sorted(SUCCESS))
_SKIPPED_BYTES_MAX: Final = 100_000  # at once, without Python's lock going to another thread

_P2SH: Final[int] = VerifyFlags.P2SH.value
_SIGPUSHONLY: Final[int] = VerifyFlags.SIGPUSHONLY.value
_CLEANSTACK: Final[int] = VerifyFlags.CLEANSTACK.value
_WITNESS: Final[int] = VerifyFlags.WITNESS.value
_TAPROOT: Final[int] = VerifyFlags.TAPROOT.value
_DISCOURAGE_PROGRAM: Final[int] = VerifyFlags.DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM.value
_DISCOURAGE_LEAF: Final[int] = VerifyFlags.DISCOURAGE_UPGRADABLE_TAPROOT_VERSION.value
_DISCOURAGE_SUCCESS: Final[int] = VerifyFlags.DISCOURAGE_OP_SUCCESS.value


def verify_spend(
    hashes: TransactionHashes, index: int, flags: VerifyFlags, checker: Checker
) -> None:
    """Raise ScriptVerifyError if input `index` of a transaction may not spend its coin.

    `flags`: WITNESS and CLEANSTACK require P2SH. Bitcoin: VerifyScript.
    """
    spend = Spend(InputHashes(hashes, index), flags.value, checker)
    script_sig = hashes.transaction.inputs[index].script_sig
    script = hashes.coins[index].script
    if spend.flags & _SIGPUSHONLY and last_push(script_sig) is None:
        fail(ScriptError.SIG_PUSHONLY)
    stack_from_sig: list[bytes] = []
    run(Machine(spend, script_sig, stack_from_sig, ScriptVersion.BASE))
    stack = _run_deciding(spend, script, stack_from_sig)
    program = _program(spend, script)
    if program is not None:
        if script_sig:
            fail(ScriptError.WITNESS_MALLEATED)
        _verify_program(spend, program, is_wrapped=False)
    elif spend.flags & _P2SH and is_p2sh(script):
        _verify_p2sh(spend, script_sig, stack_from_sig)
    else:
        _check_end(spend, stack)


def _verify_p2sh(spend: Spend, script_sig: bytes, stack_from_sig: list[bytes]) -> None:
    """Check a spend of P2SH (BIP16); the top of `stack_from_sig` is the redeem script."""
    if last_push(script_sig) is None:
        fail(ScriptError.SIG_PUSHONLY)
    redeem_script = stack_from_sig.pop()
    stack = _run_deciding(spend, redeem_script, stack_from_sig)
    program = _program(spend, redeem_script)
    if program is None:
        _check_end(spend, stack)
        return
    if script_sig != push(redeem_script):
        fail(ScriptError.WITNESS_MALLEATED_P2SH)
    _verify_program(spend, program, is_wrapped=True)


def _program(spend: Spend, script: bytes) -> tuple[int, bytes] | None:
    return witness_program(script) if spend.flags & _WITNESS else None


def _run_deciding(spend: Spend, script: bytes, items: Sequence[bytes]) -> list[bytes]:
    """Run a script without witness on a copy of `items`, and return its final stack.

    Fails with EVAL_FALSE if its top is false.
    """
    stack = list(items)
    machine = Machine(spend, script, stack, ScriptVersion.BASE)
    machine.decides = True
    run(machine)
    if not stack or not as_bool(stack[-1]):
        fail(ScriptError.EVAL_FALSE)
    return stack


def _check_end(spend: Spend, stack: Sequence[bytes]) -> None:
    """Check the final stack and the witness of a spend without a witness program."""
    if spend.flags & _CLEANSTACK and len(stack) != 1:
        fail(ScriptError.CLEANSTACK)
    if spend.flags & _WITNESS and _witness(spend):
        fail(ScriptError.WITNESS_UNEXPECTED)


def _verify_program(spend: Spend, program: tuple[int, bytes], *, is_wrapped: bool) -> None:
    """Check a spend of a witness program (Bitcoin: VerifyWitnessProgram)."""
    version, data = program
    if version == 0:
        _verify_v0(spend, data)
    elif version == 1 and len(data) == _OUTPUT_KEY_BYTES and not is_wrapped:
        if spend.flags & _TAPROOT:
            _verify_taproot(spend, data)
    elif (is_wrapped or program != _ANCHOR) and spend.flags & _DISCOURAGE_PROGRAM:
        fail(ScriptError.DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM)


def _verify_v0(spend: Spend, program: bytes) -> None:
    """Check a spend of P2WPKH or P2WSH (BIP141)."""
    stack = list(_witness(spend))
    if len(program) == _SCRIPT_HASH_BYTES:
        if not stack:
            fail(ScriptError.WITNESS_PROGRAM_WITNESS_EMPTY)
        script = stack.pop()
        if sha256(script) != program:
            fail(ScriptError.WITNESS_PROGRAM_MISMATCH)
    elif len(program) == _KEY_HASH_BYTES:
        if len(stack) != 2:
            fail(ScriptError.WITNESS_PROGRAM_MISMATCH)
        script = b"\x76\xa9\x14" + program + b"\x88\xac"  # the script of P2PKH
    else:
        fail(ScriptError.WITNESS_PROGRAM_WRONG_LENGTH)
    _check_items(stack)
    _run_witness(Machine(spend, script, stack, ScriptVersion.WITNESS_V0))


def _verify_taproot(spend: Spend, output_key: bytes) -> None:
    """Check a spend of Taproot by its key, or by a script that the key commits to (BIP341)."""
    witness = _witness(spend)
    if not witness:
        fail(ScriptError.WITNESS_PROGRAM_WITNESS_EMPTY)
    stack, annex_hash = split_annex(witness)
    if len(stack) == 1:
        check_schnorr(spend, output_key, stack[0], annex_hash)
        return
    control, script = stack.pop(), stack.pop()
    leaf = committed_leaf(output_key, script, control)
    if leaf_version(control) == TAPSCRIPT_LEAF:
        tapscript = Tapscript(leaf, annex_hash, signature_budget(witness))
        _verify_tapscript(spend, script, stack, tapscript)
    elif spend.flags & _DISCOURAGE_LEAF:
        fail(ScriptError.DISCOURAGE_UPGRADABLE_TAPROOT_VERSION)


def _verify_tapscript(
    spend: Spend, script: bytes, stack: list[bytes], tapscript: Tapscript
) -> None:
    """Run a tapscript, unless it has an OP_SUCCESS (BIP342)."""
    if _has_success(script):
        if spend.flags & _DISCOURAGE_SUCCESS:
            fail(ScriptError.DISCOURAGE_OP_SUCCESS)
        return
    if len(stack) > STACK_ITEMS_MAX:
        fail(ScriptError.STACK_SIZE)
    _check_items(stack)
    _run_witness(Machine(spend, script, stack, ScriptVersion.TAPSCRIPT, tapscript))


def _has_success(script: bytes) -> bool:
    """Return whether a tapscript has an OP_SUCCESS before any truncated push.

    Fails with BAD_OPCODE: a truncated push comes first.
    """
    at = 0
    while at < len(script):
        end = min(at + _SKIPPED_BYTES_MAX, len(script))
        at = skip_operations(script, at, end, _SUCCESS)
        if at == end:
            continue
        operation = read_operation(script, at)
        if operation is None:
            fail(ScriptError.BAD_OPCODE)
        if operation[0] in SUCCESS:
            return True
        at = operation[2]  # a push beyond `end`
    return False


def _check_items(stack: Sequence[bytes]) -> None:
    if any(len(item) > ITEM_BYTES_MAX for item in stack):
        fail(ScriptError.PUSH_SIZE)


def _run_witness(machine: Machine) -> None:
    """Run a script that has to leave one item, which is true (Bitcoin: ExecuteWitnessScript)."""
    machine.decides = True
    run(machine)
    if len(machine.stack) != 1:
        fail(ScriptError.CLEANSTACK)
    if not as_bool(machine.stack[0]):
        fail(ScriptError.EVAL_FALSE)


def _witness(spend: Spend) -> tuple[bytes, ...]:
    return spend.hashes.transaction.inputs[spend.hashes.index].witness
