"""One JSON-RPC method: a function whose signature defines its arguments."""

import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from chain.service.api.error_codes import Code
from chain.service.api.exact_json import Json
from chain.service.api.rpc.arguments import Parameter, parameters_of
from chain.service.api.rpc.errors import RpcError
from chain.service.api.rpc.values import type_error, type_name
from chain.service.api.strict_json import repeated_key

_POSITIONAL: Final = "args"  # among named arguments: the first ones, in order
_NAME_CHARACTERS_MAX: Final = 64  # of a name that is quoted in an error


@dataclass(frozen=True, slots=True)
class Method:
    """A function under its own name; its first parameter is the node, the rest are arguments.

    A plain function gets a NodeSnapshot on a worker thread, or, if it is bounded, on the event loop
    (chain/service/api/bounded_reads.py); a coroutine function gets the ApiContext and runs on the
    event loop.
    """

    function: Callable[..., Any]
    group: str  # the section of Core's help
    waits: bool = False  # for something to happen: ends when the client hangs up
    takes_view: bool = False  # whether it gets tip and mempool alone: a ChainView, on the loop
    is_bounded: bool = False  # whether it reads little, or only what `Reservation.check` allows
    parameters: tuple[Parameter, ...] = field(init=False)
    required: int = field(init=False)  # so many arguments at least
    is_async: bool = field(init=False)  # whether it runs on the event loop

    def __post_init__(self) -> None:
        parameters = parameters_of(self.function)
        required = [at for at, one in enumerate(parameters, 1) if one.is_required]
        object.__setattr__(self, "parameters", parameters)
        object.__setattr__(self, "required", max(required, default=0))
        object.__setattr__(self, "is_async", inspect.iscoroutinefunction(self.function))

    @property
    def name(self) -> str:
        """The method's name."""
        return self.function.__name__

    @property
    def usage(self) -> str:
        """The call in one line: required arguments bare, the others in brackets."""
        names = (one.name if one.is_required else f"[{one.name}]" for one in self.parameters)
        return " ".join((self.name, *names))

    @property
    def summary(self) -> str:
        """The first paragraph of the description."""
        return " ".join((inspect.getdoc(self.function) or "").split("\n\n")[0].split())

    @property
    def help(self) -> str:
        """The usage line, the description, and the arguments."""
        lines = [self.usage, "", inspect.getdoc(self.function) or ""]
        if self.parameters:
            lines += ["", "Arguments:", *(f"  {one.description()}" for one in self.parameters)]
        return "\n".join([*lines, ""])

    @property
    def conversions(self) -> list[list[Json]]:
        """Each argument's method, position, name, and whether it is text (Core: GetArgMap).

        Aliases, and the members of an object that callers may name, have rows of their own.
        """
        rows: list[list[Json]] = []
        for at, one in enumerate(self.parameters):
            rows += [[self.name, at, name, one.kind.is_text] for name in one.pattern.split("|")]
            options = one.kind.options.items()
            rows += [[self.name, at, name, option.is_text] for name, option in options]
        return rows

    def arguments(self, given: Json) -> dict[str, Any]:
        """Return the arguments by name, each read as its hint says; null and missing ones are not.

        `given` is JSON's params: a list, an object or None. Raises RpcError: MISC (with the usage)
        for a wrong number, INVALID_PARAMETER for a wrong or repeated name, TYPE, and what the
        readers raise. Bitcoin: RPCHelpMan::HandleRequest.
        """
        if not given and not self.required:
            return {}
        repeated = repeated_key(given)
        if repeated is not None:
            problem = f"Parameter {repeated[:_NAME_CHARACTERS_MAX]} specified multiple times"
            raise RpcError(Code.INVALID_PARAMETER, problem)
        values = self._positional(given) if isinstance(given, dict) else given or []
        if not self.required <= len(values) <= len(self.parameters):
            raise RpcError(Code.MISC, self.help)
        pairs = list(zip(self.parameters, values, strict=False))
        self._check_types(pairs)
        return {
            one.name: one.kind.read(value)
            for one, value in pairs
            if value is not None or one.is_required
        }

    def _check_types(self, pairs: Sequence[tuple[Parameter, Json]]) -> None:
        """Refuse arguments of a wrong JSON type, naming each of them."""
        wrong = {
            f"Position {at} ({one.pattern})": type_error(value, one.kind.expected).message
            for at, (one, value) in enumerate(pairs, 1)
            if one.kind.expected not in {None, type_name(value)}
            and (value is not None or one.is_required)
        }
        if wrong:
            raise RpcError(Code.TYPE, f"Wrong type passed:\n{json.dumps(wrong, indent=4)}")

    def _positional(self, given: dict[str, Json]) -> list[Json]:
        """Return named arguments in order, null where one is left out before another.

        Bitcoin: transformNamedArguments.
        """
        left = dict(given)
        values: list[Json] = []
        named: list[str] = []  # for each position: the argument named there, or ""
        for one in self.parameters:
            names = [name for name in (one.name, one.alias) if name in left][:1]
            options = {name: left.pop(name) for name in one.kind.options if name in left}
            if names and options:
                problem = f"Parameter {names[0]} conflicts with parameter {next(iter(options))}"
                raise RpcError(Code.INVALID_PARAMETER, problem)
            values.append(left.pop(names[0]) if names else options or None)
            named.append(one.pattern if names or options else "")
        first = left.pop(_POSITIONAL) if isinstance(left.get(_POSITIONAL), list) else []
        if left:
            problem = f"Unknown named parameter {next(iter(left))[:_NAME_CHARACTERS_MAX]}"
            raise RpcError(Code.INVALID_PARAMETER, problem)
        for pattern in named[: len(first)]:
            if pattern:
                problem = (
                    f"Parameter {pattern} specified twice both as positional and named argument"
                )
                raise RpcError(Code.INVALID_PARAMETER, problem)
        count = max((at for at, pattern in enumerate(named, 1) if pattern), default=0)
        return first + values[len(first) : count]


def usage_error(function: Callable[..., Any]) -> RpcError:
    """Return the error for arguments of valid types that do not fit together."""
    return RpcError(Code.MISC, Method(function, "").help)
