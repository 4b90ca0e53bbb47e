"""The walk over a method's arguments in Core's table: each wrong call, and the error that it has.

Missing and superfluous arguments, null, wrong types, unknown and repeated names, aliases. Used on
groat by test_rpc_arguments.py, and on another node by scripts/compare_litecoind.
"""

from dataclasses import dataclass
from typing import Any

from tests.api.core_rpc_table import OF_EACH_TYPE, Argument

MISC, TYPE, INVALID_PARAMETER = -1, -3, -8


@dataclass(frozen=True)
class Case:
    """A call, and its expected error."""

    what: str
    params: Any
    code: int
    text: str  # that the message holds


def wrong_calls(arguments: tuple[Argument, ...], usage: str) -> list[Case]:
    """Return every wrong call of a method with these arguments; `usage` begins its help."""
    return [*numbers_of(arguments, usage), *names_of(arguments), *types_of(arguments)]


def numbers_of(arguments: tuple[Argument, ...], usage: str) -> list[Case]:
    """Too few and too many, in order and by name."""
    right = [one.valid_value for one in arguments]
    required = max((at for at, one in enumerate(arguments, 1) if one.is_required), default=0)
    cases = [Case("too few", right[:count], MISC, usage) for count in range(required)]
    cases.append(Case("too many", [*right, None], MISC, usage))
    cases.append(Case("too many, in args", {"args": [*right, None]}, MISC, usage))
    if required:
        cases += [Case("none", given, MISC, usage) for given in ({}, None, {"args": []})]
    return cases


def names_of(arguments: tuple[Argument, ...]) -> list[Case]:
    """Unknown names, duplicates, and an argument with its alias."""
    right = {one.name: one.valid_value for one in arguments}
    unknown = "Unknown named parameter "
    cases = [Case("an unknown name", {**right, "nosuch": 1}, INVALID_PARAMETER, unknown + "nosuch")]
    cases.append(
        Case("args is no array", {**right, "args": 5}, INVALID_PARAMETER, unknown + "args")
    )
    for one in arguments:
        if one.alias is not None:
            both = {**right, one.alias: one.valid_value}
            cases.append(Case("a name and its alias", both, INVALID_PARAMETER, unknown + one.alias))
    if arguments:
        first = arguments[0]
        twice = f"Parameter {first.pattern} specified twice both as positional and named argument"
        params = {**right, "args": [first.valid_value]}
        cases.append(Case("an argument twice", params, INVALID_PARAMETER, twice))
    return cases


def types_of(arguments: tuple[Argument, ...]) -> list[Case]:
    """A wrong JSON type for each, in order, by each name, and after others; null if required."""
    cases = []
    right = [one.valid_value for one in arguments]
    by_name = {one.name: one.valid_value for one in arguments if one.is_required}
    for at, one in enumerate(arguments):
        for name, value in OF_EACH_TYPE.items():
            if name in one.json_types or (name == "null" and not one.is_required):
                continue
            text = wrong_type(one, name, at + 1)
            what = "null" if name == "null" else "a wrong type"
            filled = [*right[:at], value, *right[at + 1 :]]
            others = {key: given for key, given in by_name.items() if key != one.name}
            cases.append(Case(what, filled, TYPE, text))
            cases.append(Case(f"{what}, by name", {**others, one.name: value}, TYPE, text))
            if one.alias:
                cases.append(Case(f"{what}, by alias", {**others, one.alias: value}, TYPE, text))
            cases.append(Case(f"{what}, in args", {"args": filled}, TYPE, text))
        if "strings" in one.types:
            items = [value for name, value in OF_EACH_TYPE.items() if name != "string"]
            text = "is not of expected type string"
            cases += [
                Case("an item of strings", [*right[:at], ["x", item]], TYPE, text) for item in items
            ]
    return cases


def wrong_type(argument: Argument, name: str, position: int) -> str:
    """Return what Core says of a value of the JSON type `name`."""
    if argument.types == ("amount",):
        return "Amount is not a number or string"
    expected = "array" if argument.types[0] == "strings" else argument.types[0]
    text = f"JSON value of type {name} is not of expected type {expected}"
    if argument.is_typed:
        place = f"Position {position} ({argument.pattern})"
        return f'Wrong type passed:\n{{\n    "{place}": "{text}"\n}}'
    return text
