"""JSON with exact numbers: amounts written with all decimals, and read without a float."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from json.encoder import encode_basestring_ascii
from typing import Any, Final, TypeAlias

from chain.primitives.numbers import coins_text
from chain.service.api.strict_json import Number

Json: TypeAlias = Any  # dict, list, str, int, float, bool, None, Coins or Number, nested
_FIXED: Final = re.compile(r"(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?(?:[eE]([+-]?)([0-9]+))?", re.ASCII)
_AMOUNT_DECIMALS: Final = 8
_FIXED_DIGITS_MAX: Final = 18  # of a mantissa, and of an exponent


@dataclass(frozen=True, slots=True)
class CoinValue:
    """An amount in grains that JSON shows in whole coins: 1 is 0.00000001, never 1e-08."""

    grains: int

    def __str__(self) -> str:
        return coins_text(self.grains)


def write_json(value: Json) -> str:
    """Return JSON; the json module would write small amounts with an exponent."""
    write = _WRITERS.get(type(value))
    if write is not None:
        return write(value)
    if isinstance(value, dict):
        return _written_object(value)
    if isinstance(value, list | tuple):
        return _written_array(value)
    return str(value) if isinstance(value, CoinValue | Decimal) else json.dumps(value)


def _written_object(value: dict[str, Json]) -> str:
    pairs = [f"{encode_basestring_ascii(key)}:{write_json(item)}" for key, item in value.items()]
    return f"{{{','.join(pairs)}}}"


def _written_array(value: Iterable[Json]) -> str:
    return f"[{','.join(map(write_json, value))}]"


_WRITERS: Final[Mapping[type, Callable[[Any], str]]] = {  # of the usual types; others fall through
    str: encode_basestring_ascii,
    int: str,
    dict: _written_object,
    list: _written_array,
    Number: lambda number: number.text,
}


def fixed_point(text: str, decimals: int = _AMOUNT_DECIMALS) -> int | None:
    """Return a decimal number times 10^decimals, or None (Bitcoin: ParseFixedPoint).

    None: not a JSON number, more non-zero decimals than that, or 10^18 and more.
    """
    found = _FIXED.fullmatch(text)
    if found is None:
        return None
    sign, whole, fraction, exponent_sign, exponent_digits = found.groups("")
    digits = ("" if whole == "0" else whole) + fraction
    mantissa = digits.rstrip("0")
    zeros, mantissa = len(digits) - len(mantissa), mantissa.lstrip("0")
    exponent_digits = exponent_digits.lstrip("0") or "0"
    if max(len(mantissa), len(exponent_digits)) > _FIXED_DIGITS_MAX:
        return None
    exponent = int(exponent_sign + exponent_digits) - len(fraction) + zeros + decimals
    if not 0 <= exponent < _FIXED_DIGITS_MAX:
        return None
    if not mantissa:
        return 0
    is_too_large = len(mantissa) + exponent > _FIXED_DIGITS_MAX
    return None if is_too_large else int(sign + mantissa) * 10**exponent
