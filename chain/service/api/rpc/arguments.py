"""The readers of JSON-RPC's arguments, selected by the type hints of a method's signature.

Before a method runs, the JSON types of all its arguments are checked, and one error lists the wrong
ones (Bitcoin: RPCArg::MatchesType). Only then are the values read: the range of an integer, the
items of an array.
"""

import inspect
import json
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import (
    Annotated,
    Any,
    Final,
    TypeAlias,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from chain.service.api.error_codes import Code
from chain.service.api.exact_json import Json
from chain.service.api.rpc.errors import RpcError
from chain.service.api.rpc.values import (
    amount_argument,
    integer_argument,
    plain_json,
    rate_argument,
    type_error,
    type_name,
    without_nulls,
)

ARGUMENT_ALIASES: Final[Mapping[tuple[str, str], str]] = {  # all of Core 30's node methods
    ("getblock", "verbosity"): "verbose",
    ("getrawtransaction", "verbosity"): "verbose",
}


@dataclass(frozen=True, slots=True)
class Kind:
    """The JSON that one argument accepts, and its conversion."""

    expected: str | None  # JSON type, checked before `read` is called; None: `read` checks it
    read: Callable[[Json], Any]  # raises RpcError
    # Members of an object that callers may pass as named arguments.
    options: Mapping[str, "Kind"] = field(default_factory=dict, hash=False)
    types: tuple[str, ...] = ()  # JSON types that `read` accepts if nothing is expected; (): any

    @property
    def is_text(self) -> bool:
        """Whether it is always a string."""
        return self.expected == "string"

    @property
    def type_text(self) -> str:
        """The JSON types for a reader, as in "number or bool"."""
        return self.expected or " or ".join(dict.fromkeys(self.types)) or "any JSON"

    def read_item(self, value: Json) -> Json:
        """Return the converted value of an array's item or an object's member. Raises RpcError."""
        if self.expected is not None and type_name(value) != self.expected:
            raise type_error(value, self.expected)
        return self.read(value)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a method."""

    name: str
    kind: Kind
    is_required: bool
    alias: str | None = None
    default: object = None

    @property
    def pattern(self) -> str:
        """Its names, in Core's notation."""
        return self.name if self.alias is None else f"{self.name}|{self.alias}"

    def description(self, quote: str = "") -> str:
        """Return its names, each in `quote`, types and default, in one line for people."""
        names = " or ".join(f"{quote}{name}{quote}" for name in self.pattern.split("|"))
        text = f"{names}: {self.kind.type_text}"
        if self.is_required:
            return f"{text}, required"
        if self.kind.options:
            text += " with " + ", ".join(f"{quote}{name}{quote}" for name in self.kind.options)
        shown = "" if self.default in (None, "") else json.dumps(self.default).strip('"')
        is_coins = self.kind.types == _AMOUNT_TYPES  # in grains here, in coins there
        return text if is_coins or not shown else f"{text}, default {shown}"


def _identity(value: Json) -> Json:
    return value


def _decimal(value: Json) -> int | Decimal:
    number = plain_json(value)
    if not isinstance(number, int | Decimal):
        raise RpcError(Code.MISC, "JSON double out of range")
    return number


def _int64(value: Json) -> int:
    return integer_argument(value, 64)


def _uint32(value: Json) -> int:
    return integer_argument(value, is_signed=False)


_AMOUNT_TYPES: Final = ("number", "string")
# Hints in addition to Python's own types; a plain `int` has 32 bits, as in C.
Int64: TypeAlias = Annotated[int, Kind("number", _int64)]
UInt32: TypeAlias = Annotated[int, Kind("number", _uint32)]
CoinAmount: TypeAlias = Annotated[
    int, Kind(None, amount_argument, types=_AMOUNT_TYPES)
]  # coins in JSON, grains in Python
FeeRate: TypeAlias = Annotated[
    int, Kind(None, rate_argument, types=_AMOUNT_TYPES)
]  # coins per kvB in JSON, grains in Python
AnyJson: TypeAlias = Annotated[Any, Kind(None, _identity)]  # numbers are Number objects

_KINDS: Final[Mapping[object, Kind]] = {
    Any: Kind(None, plain_json),
    str: Kind("string", _identity),
    bool: Kind("bool", _identity),
    int: Kind("number", integer_argument),
    float: Kind("number", _decimal),
    Decimal: Kind("number", _decimal),
    type(None): Kind("null", _identity),
}


def parameters_of(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    """Return a function's JSON-RPC arguments: all parameters except the first."""
    hints = get_type_hints(function, include_extras=True)
    return tuple(
        Parameter(
            parameter.name,
            kind_of(hints[parameter.name]),
            parameter.default is parameter.empty,
            ARGUMENT_ALIASES.get((function.__name__, parameter.name)),
            None if parameter.default is parameter.empty else parameter.default,
        )
        for parameter in list(inspect.signature(function).parameters.values())[1:]
    )


def kind_of(hint: Any) -> Kind:  # noqa: ANN401 - a hint may be anything
    """Return the reader for arguments of a hint.

    An array's items, and the members of a TypedDict, are read by their own hints. A hint of several
    types is resolved by the JSON type; an error names the first.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return next(extra for extra in inner[1:] if isinstance(extra, Kind))
    if origin in {Union, types.UnionType}:
        return _union(tuple(kind_of(member) for member in inner if member is not type(None)))
    if origin is list:
        return _array(kind_of(inner[0]))
    if origin is dict:
        return _map(kind_of(inner[1]))
    if is_typeddict(hint):
        return _object(hint)
    return _KINDS[hint]


def _union(kinds: tuple[Kind, ...]) -> Kind:
    if len({kind.expected for kind in kinds}) == 1:
        return kinds[-1]  # int | Decimal is any number
    by_type = {kind.expected: kind for kind in kinds}

    def read(value: Json) -> Json:
        kind = by_type.get(type_name(value))
        if kind is None:
            raise type_error(value, kinds[0].expected or "string")
        return kind.read(value)

    return Kind(None, read, types=tuple(kind.type_text for kind in kinds))


def _array(item: Kind) -> Kind:
    return Kind("array", lambda value: [item.read_item(element) for element in value])


def _map(item: Kind) -> Kind:
    return Kind(
        "object", lambda value: {name: item.read_item(member) for name, member in value.items()}
    )


def _object(shape: Any) -> Kind:  # noqa: ANN401 - a TypedDict class
    """Return the kind of an object with these members and no others (RPCTypeCheckObj).

    Null is the same as missing.
    """
    kinds = {
        name: kind_of(hint) for name, hint in get_type_hints(shape, include_extras=True).items()
    }
    required = shape.__required_keys__

    def read(value: Json) -> Json:
        found = without_nulls(value)
        for name, kind in kinds.items():
            if name not in found and name in required:
                raise RpcError(Code.TYPE, f"Missing {name}")
            expected, member = kind.expected, found.get(name)
            if member is not None and expected is not None and type_name(member) != expected:
                problem = f"JSON value of type {type_name(member)} for field {name}"
                raise RpcError(Code.TYPE, f"{problem} is not of expected type {expected}")
        for name in value:
            if name not in kinds:
                raise RpcError(Code.TYPE, f"Unexpected key {name[:64]}")
        return {name: kinds[name].read(member) for name, member in found.items()}

    return Kind("object", read, kinds)
