"""The operations other than signature checks, the table of all 256, and the loop that runs them.

An operation works on the machine's stack. The table gives the number of items that must be there,
so that the operation can pop them without a check.
"""

import operator
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from chain.primitives.hashes import hash160, ripemd160, sha1, sha256, sha256d
from chain.primitives.script import OP_16, OP_PUSHDATA4, push, read_operation
from chain.primitives.transaction import (
    LOCK_TIME_THRESHOLD,
    SEQUENCE_FINAL,
    SEQUENCE_LOCK_IS_TIME,
    SEQUENCE_LOCK_MASK,
    SEQUENCE_LOCK_OFF,
)
from chain.script.checksig import (
    check_multisig,
    check_multisig_verify,
    check_sig,
    check_sig_add,
    check_sig_verify,
)
from chain.script.errors import ScriptError, fail
from chain.script.flags import ScriptVersion, VerifyFlags
from chain.script.machine import ITEM_BYTES_MAX, STACK_ITEMS_MAX, Machine
from chain.script.number import LOCK_TIME_BYTES_MAX, TRUE, as_bool, encode_number
from chain.script.opcodes import DISABLED, Op

_Operation = Callable[[Machine], None]

_CHECKLOCKTIMEVERIFY: Final[int] = VerifyFlags.CHECKLOCKTIMEVERIFY.value
_CHECKSEQUENCEVERIFY: Final[int] = VerifyFlags.CHECKSEQUENCEVERIFY.value
_CONST_SCRIPTCODE: Final[int] = VerifyFlags.CONST_SCRIPTCODE.value
_DISCOURAGE_NOPS: Final[int] = VerifyFlags.DISCOURAGE_UPGRADABLE_NOPS.value
_MINIMALIF: Final[int] = VerifyFlags.MINIMALIF.value


def run(machine: Machine) -> None:
    """Run the machine's script to its end; raise ScriptVerifyError if it fails there.

    The machine's stack is the script's result (Bitcoin: EvalScript).
    """
    script, stack, alt_stack = machine.script, machine.stack, machine.alt_stack
    end, is_counted = len(script), machine.version is not ScriptVersion.TAPSCRIPT
    while machine.at < end:
        opcode = script[machine.at]
        if opcode <= OP_PUSHDATA4:
            _push_data(machine, opcode)
        else:
            machine.at += 1
            if is_counted and opcode > OP_16:
                machine.count_operations(1)
            if machine.executing or _IN_EVERY_BRANCH[opcode]:
                needed, operation = _TABLE[opcode]
                if len(stack) < needed:
                    fail(ScriptError.INVALID_STACK_OPERATION)
                operation(machine)
        machine.position += 1
        if len(stack) + len(alt_stack) > STACK_ITEMS_MAX:
            fail(ScriptError.STACK_SIZE)
    machine.check_balanced()


def _push_data(machine: Machine, opcode: int) -> None:
    """Push the data after the opcode; its size is checked even in a branch that is not executed."""
    read = read_operation(machine.script, machine.at)
    if read is None:
        fail(ScriptError.BAD_OPCODE)
    data, machine.at = read[1] or b"", read[2]
    if len(data) > ITEM_BYTES_MAX:
        fail(ScriptError.PUSH_SIZE)
    if machine.executing:
        if machine.is_minimal and opcode != _minimal_opcode(data):
            fail(ScriptError.MINIMALDATA)
        machine.stack.append(data)


def _minimal_opcode(data: bytes) -> int:
    """Return the opcode that pushes `data` in the shortest way (Bitcoin: CheckMinimalPush)."""
    if len(data) == 1 and 1 <= data[0] <= 16:
        return Op.OP_1 - 1 + data[0]
    if data == b"\x81":
        return Op.OP_1NEGATE
    return push(data)[0]


# Constants


def _constant(item: bytes) -> _Operation:
    def operation(machine: Machine) -> None:
        machine.stack.append(item)

    return operation


# Control


def _no_operation(_: Machine) -> None:
    """OP_NOP."""


def _upgradable(machine: Machine) -> None:
    if machine.flags & _DISCOURAGE_NOPS:
        fail(ScriptError.DISCOURAGE_UPGRADABLE_NOPS)


def _failing(error: ScriptError) -> _Operation:
    def operation(_: Machine) -> None:
        fail(error)

    return operation


def _if(machine: Machine, *, wanted: bool) -> None:
    """OP_IF and OP_NOTIF."""
    is_taken = False
    if machine.executing:
        machine.check_depth(1)
        item = machine.stack.pop()
        if len(item) > 1 or item not in (b"", TRUE):
            _check_minimal_if(machine)
        is_taken = as_bool(item) is wanted
    machine.begin_branch(is_taken=is_taken)


def _check_minimal_if(machine: Machine) -> None:
    if machine.version is ScriptVersion.TAPSCRIPT:
        fail(ScriptError.TAPSCRIPT_MINIMALIF)
    if machine.version is ScriptVersion.WITNESS_V0 and machine.flags & _MINIMALIF:
        fail(ScriptError.MINIMALIF)


def _verify(machine: Machine) -> None:
    if not as_bool(machine.stack.pop()):
        fail(ScriptError.VERIFY)


def _code_separator(machine: Machine) -> None:
    if machine.version is ScriptVersion.BASE and machine.flags & _CONST_SCRIPTCODE:
        fail(ScriptError.OP_CODESEPARATOR)
    if machine.executing:
        machine.code_start = machine.at
        machine.separator = machine.position


# Lock times


def _check_lock_time(machine: Machine) -> None:
    """OP_CHECKLOCKTIMEVERIFY (BIP65): the input is bound to a height or time of at least the top.

    A final input would disable the transaction's lock time.
    """
    if not machine.flags & _CHECKLOCKTIMEVERIFY:
        return
    machine.check_depth(1)
    wanted = machine.number(machine.stack[-1], LOCK_TIME_BYTES_MAX)
    if wanted < 0:
        fail(ScriptError.NEGATIVE_LOCKTIME)
    hashes = machine.spend.hashes
    lock_time = hashes.transaction.lock_time
    is_same_kind = (lock_time < LOCK_TIME_THRESHOLD) == (wanted < LOCK_TIME_THRESHOLD)
    is_final = hashes.transaction.inputs[hashes.index].sequence == SEQUENCE_FINAL
    if not is_same_kind or wanted > lock_time or is_final:
        fail(ScriptError.UNSATISFIED_LOCKTIME)


def _check_sequence(machine: Machine) -> None:
    """OP_CHECKSEQUENCEVERIFY (BIP112): the input's relative lock is at least the top's (BIP68)."""
    if not machine.flags & _CHECKSEQUENCEVERIFY:
        return
    machine.check_depth(1)
    wanted = machine.number(machine.stack[-1], LOCK_TIME_BYTES_MAX)
    if wanted < 0:
        fail(ScriptError.NEGATIVE_LOCKTIME)
    if wanted & SEQUENCE_LOCK_OFF:
        return
    hashes = machine.spend.hashes
    sequence = hashes.transaction.inputs[hashes.index].sequence
    if hashes.transaction.version < 2 or sequence & SEQUENCE_LOCK_OFF:
        fail(ScriptError.UNSATISFIED_LOCKTIME)
    mask = SEQUENCE_LOCK_IS_TIME | SEQUENCE_LOCK_MASK
    is_same_kind = not (sequence ^ wanted) & SEQUENCE_LOCK_IS_TIME
    if not is_same_kind or wanted & mask > sequence & mask:
        fail(ScriptError.UNSATISFIED_LOCKTIME)


# The stack


def _to_alt_stack(machine: Machine) -> None:
    machine.alt_stack.append(machine.stack.pop())


def _from_alt_stack(machine: Machine) -> None:
    if not machine.alt_stack:
        fail(ScriptError.INVALID_ALTSTACK_OPERATION)
    machine.stack.append(machine.alt_stack.pop())


def _drop(count: int) -> _Operation:
    def operation(machine: Machine) -> None:
        del machine.stack[-count:]

    return operation


def _copy(depth: int, count: int) -> _Operation:
    """Return the operation that copies `count` items, the deepest of them `depth` from the top."""
    stop = count - depth or None

    def operation(machine: Machine) -> None:
        machine.stack += machine.stack[-depth:stop]

    return operation


def _lift(depth: int, count: int) -> _Operation:
    """Return the operation that moves `count` items to the top, the deepest `depth` from it."""
    stop = count - depth

    def operation(machine: Machine) -> None:
        lifted = machine.stack[-depth:stop]
        del machine.stack[-depth:stop]
        machine.stack += lifted

    return operation


def _if_dup(machine: Machine) -> None:
    if as_bool(machine.stack[-1]):
        machine.stack.append(machine.stack[-1])


def _depth(machine: Machine) -> None:
    machine.push_number(len(machine.stack))


def _nip(machine: Machine) -> None:
    del machine.stack[-2]


def _pick(machine: Machine) -> None:
    machine.stack.append(machine.stack[_pop_index(machine)])


def _roll(machine: Machine) -> None:
    machine.stack.append(machine.stack.pop(_pop_index(machine)))


def _pop_index(machine: Machine) -> int:
    """Pop a depth, 0 for the top, and return the index of that item in the stack."""
    depth = machine.pop_number()
    if not 0 <= depth < len(machine.stack):
        fail(ScriptError.INVALID_STACK_OPERATION)
    return -1 - depth


def _tuck(machine: Machine) -> None:
    machine.stack.insert(-2, machine.stack[-1])


def _size(machine: Machine) -> None:
    machine.push_number(len(machine.stack[-1]))


# Comparison, numbers and hashes


def _equal(machine: Machine) -> None:
    machine.push_bool(machine.stack.pop() == machine.stack.pop())


def _equal_verify(machine: Machine) -> None:
    if machine.stack.pop() != machine.stack.pop():
        fail(ScriptError.EQUALVERIFY)


def _one_number(function: Callable[[int], int]) -> _Operation:
    def operation(machine: Machine) -> None:
        machine.push_number(function(machine.pop_number()))

    return operation


def _two_numbers(function: Callable[[int, int], int]) -> _Operation:
    def operation(machine: Machine) -> None:
        second, first = machine.pop_number(), machine.pop_number()
        machine.push_number(function(first, second))

    return operation


def _num_equal_verify(machine: Machine) -> None:
    if machine.pop_number() != machine.pop_number():
        fail(ScriptError.NUMEQUALVERIFY)


def _within(machine: Machine) -> None:
    stop, start, number = machine.pop_number(), machine.pop_number(), machine.pop_number()
    machine.push_bool(start <= number < stop)


def _hashed(function: Callable[[bytes], bytes]) -> _Operation:
    def operation(machine: Machine) -> None:
        machine.stack.append(function(machine.stack.pop()))

    return operation


_Entry = tuple[int, _Operation]  # number of items that must be on the stack, the operation

_OPERATIONS: Final[Mapping[int, _Entry]] = {
    Op.OP_1NEGATE: (0, _constant(encode_number(-1))),
    **{Op.OP_1 - 1 + number: (0, _constant(encode_number(number))) for number in range(1, 17)},
    Op.OP_NOP: (0, _no_operation),
    Op.OP_IF: (0, partial(_if, wanted=True)),
    Op.OP_NOTIF: (0, partial(_if, wanted=False)),
    Op.OP_ELSE: (0, Machine.flip_branch),
    Op.OP_ENDIF: (0, Machine.end_branch),
    Op.OP_VERIFY: (1, _verify),
    Op.OP_RETURN: (0, _failing(ScriptError.OP_RETURN)),
    Op.OP_TOALTSTACK: (1, _to_alt_stack),
    Op.OP_FROMALTSTACK: (0, _from_alt_stack),
    Op.OP_2DROP: (2, _drop(2)),
    Op.OP_2DUP: (2, _copy(2, 2)),
    Op.OP_3DUP: (3, _copy(3, 3)),
    Op.OP_2OVER: (4, _copy(4, 2)),
    Op.OP_2ROT: (6, _lift(6, 2)),
    Op.OP_2SWAP: (4, _lift(4, 2)),
    Op.OP_IFDUP: (1, _if_dup),
    Op.OP_DEPTH: (0, _depth),
    Op.OP_DROP: (1, _drop(1)),
    Op.OP_DUP: (1, _copy(1, 1)),
    Op.OP_NIP: (2, _nip),
    Op.OP_OVER: (2, _copy(2, 1)),
    Op.OP_PICK: (2, _pick),
    Op.OP_ROLL: (2, _roll),
    Op.OP_ROT: (3, _lift(3, 1)),
    Op.OP_SWAP: (2, _lift(2, 1)),
    Op.OP_TUCK: (2, _tuck),
    Op.OP_SIZE: (1, _size),
    Op.OP_EQUAL: (2, _equal),
    Op.OP_EQUALVERIFY: (2, _equal_verify),
    Op.OP_1ADD: (1, _one_number(lambda number: number + 1)),
    Op.OP_1SUB: (1, _one_number(lambda number: number - 1)),
    Op.OP_NEGATE: (1, _one_number(operator.neg)),
    Op.OP_ABS: (1, _one_number(abs)),
    Op.OP_NOT: (1, _one_number(lambda number: number == 0)),
    Op.OP_0NOTEQUAL: (1, _one_number(lambda number: number != 0)),
    Op.OP_ADD: (2, _two_numbers(operator.add)),
    Op.OP_SUB: (2, _two_numbers(operator.sub)),
    Op.OP_BOOLAND: (2, _two_numbers(lambda one, other: one != 0 and other != 0)),
    Op.OP_BOOLOR: (2, _two_numbers(lambda one, other: one != 0 or other != 0)),
    Op.OP_NUMEQUAL: (2, _two_numbers(operator.eq)),
    Op.OP_NUMEQUALVERIFY: (2, _num_equal_verify),
    Op.OP_NUMNOTEQUAL: (2, _two_numbers(operator.ne)),
    Op.OP_LESSTHAN: (2, _two_numbers(operator.lt)),
    Op.OP_GREATERTHAN: (2, _two_numbers(operator.gt)),
    Op.OP_LESSTHANOREQUAL: (2, _two_numbers(operator.le)),
    Op.OP_GREATERTHANOREQUAL: (2, _two_numbers(operator.ge)),
    Op.OP_MIN: (2, _two_numbers(min)),
    Op.OP_MAX: (2, _two_numbers(max)),
    Op.OP_WITHIN: (3, _within),
    Op.OP_RIPEMD160: (1, _hashed(ripemd160)),
    Op.OP_SHA1: (1, _hashed(sha1)),
    Op.OP_SHA256: (1, _hashed(sha256)),
    Op.OP_HASH160: (1, _hashed(hash160)),
    Op.OP_HASH256: (1, _hashed(sha256d)),
    Op.OP_CODESEPARATOR: (0, _code_separator),
    Op.OP_CHECKSIG: (2, check_sig),
    Op.OP_CHECKSIGVERIFY: (2, check_sig_verify),
    Op.OP_CHECKMULTISIG: (0, check_multisig),
    Op.OP_CHECKMULTISIGVERIFY: (0, check_multisig_verify),
    Op.OP_NOP1: (0, _upgradable),
    Op.OP_CHECKLOCKTIMEVERIFY: (0, _check_lock_time),
    Op.OP_CHECKSEQUENCEVERIFY: (0, _check_sequence),
    **dict.fromkeys(range(Op.OP_NOP4, Op.OP_NOP10 + 1), (0, _upgradable)),
    Op.OP_CHECKSIGADD: (0, check_sig_add),
    **dict.fromkeys(DISABLED, (0, _failing(ScriptError.DISABLED_OPCODE))),
}

_UNKNOWN: Final[_Entry] = (0, _failing(ScriptError.BAD_OPCODE))
_TABLE: Final = tuple(_OPERATIONS.get(opcode, _UNKNOWN) for opcode in range(256))
# Conditionals, the two that always fail, disabled opcodes, and by policy the code separator.
_IN_EVERY_BRANCH: Final = tuple(
    Op.OP_IF <= opcode <= Op.OP_ENDIF or opcode in DISABLED or opcode == Op.OP_CODESEPARATOR
    for opcode in range(256)
)
