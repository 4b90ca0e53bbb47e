"""One script being run: its stacks, its position, and its limits."""

from typing import Final

from chain.primitives.script import SCRIPT_BYTES_MAX
from chain.script.checks import Spend
from chain.script.errors import ScriptError, fail
from chain.script.flags import ScriptVersion, VerifyFlags
from chain.script.number import FALSE, NUMBER_BYTES_MAX, TRUE, decode_number, encode_number
from chain.script.taproot import Tapscript

OPERATIONS_MAX: Final = 201  # in one script; tapscript is limited by its weight instead
STACK_ITEMS_MAX: Final = 1000  # on both stacks together
ITEM_BYTES_MAX: Final = 520
NO_SEPARATOR: Final = 0xFFFFFFFF  # BIP342: the position if no code separator ran

_MINIMALDATA: Final[int] = VerifyFlags.MINIMALDATA.value
_NO_FALSE: Final = -1


class Machine:
    """The state of one script. The alt stack, conditions and counts end with it.

    Conditions are stored as their number and the position of the first false one, as in Bitcoin
    (ConditionStack): searching a list of them would take hours for a long script of OP_IF.
    """

    __slots__ = (
        "_conditions",
        "_first_false",
        "alt_stack",
        "at",
        "code_start",
        "decides",
        "executing",
        "flags",
        "is_minimal",
        "operations",
        "position",
        "script",
        "separator",
        "spend",
        "stack",
        "tapscript",
        "version",
    )

    def __init__(
        self,
        spend: Spend,
        script: bytes,
        stack: list[bytes],
        version: ScriptVersion,
        tapscript: Tapscript | None = None,
    ) -> None:
        """Prepare to run `script` on `stack`, which it changes.

        Fails with SCRIPT_SIZE. `tapscript` is not None if and only if `version` is TAPSCRIPT.
        """
        if version is not ScriptVersion.TAPSCRIPT and len(script) > SCRIPT_BYTES_MAX:
            fail(ScriptError.SCRIPT_SIZE)
        self.spend = spend
        self.flags = spend.flags
        self.is_minimal = bool(spend.flags & _MINIMALDATA)
        self.version = version
        self.tapscript = tapscript
        self.script = script
        self.stack = stack
        self.alt_stack: list[bytes] = []
        self.at = 0  # offset after the current operation
        self.position = 0  # number of operations before it, executed or not
        self.code_start = 0  # offset after the last executed code separator
        self.separator = NO_SEPARATOR  # its position
        self.operations = 0  # counted against OPERATIONS_MAX
        self.decides = False  # whether the spend fails if the script leaves false on top
        self.executing = True  # whether the current branch is executed
        self._conditions = 0
        self._first_false = _NO_FALSE

    def count_operations(self, count: int) -> None:
        """Count operations, or a multisig's keys. Fails with OP_COUNT."""
        self.operations += count
        if self.operations > OPERATIONS_MAX:
            fail(ScriptError.OP_COUNT)

    def begin_branch(self, *, is_taken: bool) -> None:
        """Enter a conditional."""
        if self.executing and not is_taken:
            self._first_false = self._conditions
            self.executing = False
        self._conditions += 1

    def flip_branch(self) -> None:
        """Invert the innermost condition. Fails with UNBALANCED_CONDITIONAL outside any."""
        if not self._conditions:
            fail(ScriptError.UNBALANCED_CONDITIONAL)
        top = self._conditions - 1
        if self.executing:
            self._first_false = top
        elif self._first_false == top:
            self._first_false = _NO_FALSE
        self.executing = self._first_false == _NO_FALSE

    def end_branch(self) -> None:
        """Leave the innermost conditional. Fails with UNBALANCED_CONDITIONAL outside any."""
        if not self._conditions:
            fail(ScriptError.UNBALANCED_CONDITIONAL)
        self._conditions -= 1
        if self._first_false == self._conditions:
            self._first_false = _NO_FALSE
            self.executing = True

    def check_balanced(self) -> None:
        """Fail with UNBALANCED_CONDITIONAL if a conditional was not ended."""
        if self._conditions:
            fail(ScriptError.UNBALANCED_CONDITIONAL)

    def check_depth(self, count: int) -> None:
        """Fail with INVALID_STACK_OPERATION if the stack has fewer than `count` items."""
        if len(self.stack) < count:
            fail(ScriptError.INVALID_STACK_OPERATION)

    def number(self, item: bytes, size_max: int = NUMBER_BYTES_MAX) -> int:
        """Return the value of an item as a number. Fails with SCRIPTNUM."""
        return decode_number(item, size_max, minimal=self.is_minimal)

    def pop_number(self) -> int:
        """Pop a number of at most four bytes. Fails with SCRIPTNUM."""
        return decode_number(self.stack.pop(), NUMBER_BYTES_MAX, minimal=self.is_minimal)

    def push_number(self, number: int) -> None:
        """Push a number of any size."""
        self.stack.append(encode_number(number))

    def push_bool(self, value: bool) -> None:  # noqa: FBT001 - it is the value
        """Push a boolean."""
        self.stack.append(TRUE if value else FALSE)

    def script_code(self) -> bytes:
        """Return the script from the last executed code separator to its end."""
        return self.script[self.code_start :] if self.code_start else self.script
