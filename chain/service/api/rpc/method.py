"""One JSON-RPC method: a function, whose signature says what arguments it takes."""

import inspect
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from chain.service.api.rpc.errors import Code, RpcError
from chain.service.api.rpc.values import Json

_JSON_NAMES: Final = {
    str: "string",
    bool: "bool",
    int: "number",
    Decimal: "number",
    list: "array",
    dict: "object",
    type(None): "null",
}


@dataclass(frozen=True, slots=True)
class Method:
    """A function under its own name; the first parameter is what it works on, the rest are JSON's.

    A plain function gets a Moment and runs on a worker thread; a coroutine function gets the
    ApiContext and runs on the event loop.
    """

    function: Callable[..., Any]
    group: str  # as Core's help sorts them

    @property
    def name(self) -> str:
        """What clients call it by."""
        return self.function.__name__

    @property
    def is_async(self) -> bool:
        """Whether it runs on the event loop."""
        return inspect.iscoroutinefunction(self.function)

    @property
    def usage(self) -> str:
        """The call in one line: required arguments bare, the others in brackets."""
        words = [self.name]
        for parameter in _parameters(self.function):
            is_required = parameter.default is parameter.empty
            words.append(parameter.name if is_required else f"[{parameter.name}]")
        return " ".join(words)

    @property
    def help(self) -> str:
        """Usage and what it does."""
        return f"{self.usage}\n\n{inspect.getdoc(self.function)}\n"

    def arguments(self, given: Json) -> dict[str, Json]:
        """Return the arguments by name, each of the right type.

        `given` is JSON's params: a list, an object or None. Raises RpcError: MISC (with the usage)
        for a wrong number, INVALID_PARAMETER for an unknown name, TYPE.
        """
        parameters = _parameters(self.function)
        if isinstance(given, dict):
            named = self._from_names(parameters, given)
        else:
            values = given or []
            if len(values) > len(parameters):
                raise RpcError(Code.MISC, self.help)
            named = {p.name: value for p, value in zip(parameters, values, strict=False)}
        hints = get_type_hints(self.function)
        chosen: dict[str, Json] = {}
        for position, parameter in enumerate(parameters, 1):
            value = named.get(parameter.name)
            if value is None and parameter.default is parameter.empty:
                raise RpcError(Code.MISC, self.help)
            if value is not None:  # null means the default, as in Core
                _check_type(value, hints[parameter.name], f"{position} ({parameter.name})")
                chosen[parameter.name] = value
        return chosen

    def _from_names(
        self, parameters: Sequence[inspect.Parameter], given: dict[str, Json]
    ) -> dict[str, Json]:
        """Return named arguments; `args` may hold the first ones in order (Core: named-args)."""
        known = [parameter.name for parameter in parameters]
        first = given.get("args", [])
        rest = {name: value for name, value in given.items() if name != "args"}
        if not isinstance(first, list) or len(first) > len(known):
            raise RpcError(Code.MISC, self.help)
        named = dict(zip(known, first, strict=False))
        for name, value in rest.items():
            if name not in known:
                raise RpcError(Code.INVALID_PARAMETER, f"Unknown named parameter {name[:64]}")
            if name in named:
                problem = f"Parameter {name} specified twice both as positional and named argument"
                raise RpcError(Code.INVALID_PARAMETER, problem)
            named[name] = value
        return named


def usage_error(function: Callable[..., Any]) -> RpcError:
    """Return the error of a call that no argument's type forbids and that makes no sense."""
    return RpcError(Code.MISC, Method(function, "").help)


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())[1:]


def _check_type(value: Json, hint: object, place: str) -> None:
    """Refuse a value whose JSON type is none of the hint's; true is no number here."""
    is_union = get_origin(hint) in {Union, types.UnionType}
    wanted = [get_origin(t) or t for t in (get_args(hint) if is_union else (hint,))]
    if hint is Any or type(value) in wanted:
        return
    names = " or ".join(dict.fromkeys(_JSON_NAMES[t] for t in wanted if t is not type(None)))
    if int in wanted and isinstance(value, Decimal):
        names = "whole number"
    text = f"JSON value of type {_JSON_NAMES[type(value)]} is not of expected type {names}"
    raise RpcError(Code.TYPE, f'Wrong type passed:\n{{\n    "Position {place}": "{text}"\n}}')
