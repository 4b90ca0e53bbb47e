"""JSON-RPC: descriptors as arguments, and the scripts that they describe."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from chain.consensus.params import Params
from chain.primitives.descriptor import DescriptorError, split_checksum
from chain.primitives.descriptor_key import DescriptorKey, parse_key
from chain.primitives.hashes import hash160
from chain.primitives.script import p2wpkh_script
from chain.service.api.error_codes import Code
from chain.service.api.exact_json import Json
from chain.service.api.rpc.errors import RpcError
from chain.service.api.rpc.values import address_argument, range_argument

DERIVED_MAX: Final = 5_000  # scripts in one call: a tenth of a millisecond each
_RANGE: Final = (0, 1000)  # if none is given (Bitcoin: EvalDescriptorStringOrObject)
_CHARACTERS_MAX: Final = 20_000  # a script of 10,000 bytes, which is the longest, in hex
_TEST_COIN_TYPE: Final = 1  # SLIP-44: every test network, whose extended keys are tpub
_FORM: Final = re.compile(
    r"addr\((?P<address>\w+)\)|raw\((?P<script>(?:[0-9a-fA-F]{2})+)\)|wpkh\((?P<key>[^()]+)\)",
    re.ASCII,
)
_FORMS: Final = "only addr(ADDRESS), raw(HEX) and wpkh(PUBLIC KEY) are supported"


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A descriptor with one path: of one script, or if it is ranged, of one for each index."""

    text: str  # without checksum
    script: bytes = b""  # its only one, if it has no key
    key: DescriptorKey | None = None

    @property
    def is_ranged(self) -> bool:
        """Whether it has a script for each index."""
        return self.key is not None and self.key.is_ranged

    def script_at(self, index: int) -> bytes:
        """Return the script of an index; any, if it is not ranged. Raises RpcError."""
        if self.key is None:
            return self.script
        try:
            return p2wpkh_script(hash160(self.key.public_key(index)))
        except DescriptorError as error:
            raise RpcError(Code.INVALID_ADDRESS_OR_KEY, str(error)) from None


def parse_descriptor(text: str, params: Params) -> list[Descriptor]:
    """Return the descriptors of a text, several if it has several paths (BIP389).

    Raises RpcError INVALID_ADDRESS_OR_KEY.
    """
    if len(text) > _CHARACTERS_MAX:
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, f"descriptor too long: {_FORMS}")
    try:
        form = _FORM.fullmatch(split_checksum(text))
    except DescriptorError as error:
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, str(error)) from None
    if form is None:
        problem = f"'{text[:100]}' is not a valid descriptor function: {_FORMS}"
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, problem)
    if form["address"] is not None:
        return [Descriptor(form[0], address_argument(form["address"], params.address_prefixes))]
    if form["script"] is not None:
        return [Descriptor(form[0].lower(), bytes.fromhex(form["script"]))]
    is_test = params.bip44_coin_type == _TEST_COIN_TYPE
    try:
        keys = parse_key(form["key"], is_test=is_test)
    except DescriptorError as error:
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, f"wpkh(): {error}") from None
    return [Descriptor(f"wpkh({key.text})", key=key) for key in keys]


def descriptor_script(text: str, params: Params) -> bytes:
    """Return the only script of a descriptor. Raises RpcError: it has several, or none."""
    found = parse_descriptor(text, params)
    if len(found) > 1:
        raise RpcError(Code.INVALID_PARAMETER, "Multipath descriptor not accepted")
    if found[0].is_ranged:
        problem = "Ranged descriptor not accepted. Maybe pass through deriveaddresses first?"
        raise RpcError(Code.INVALID_PARAMETER, problem)
    return found[0].script_at(0)


def described_scripts(
    objects: Iterable[Json], params: Params
) -> Iterator[tuple[bytes, Descriptor, int]]:
    """Yield the scripts of scan objects, with their descriptors and indexes.

    A scan object is a text, or an object with a range, which is 0 to 1000 otherwise. A range must
    be valid even if the descriptor is not ranged. Raises RpcError: over DERIVED_MAX scripts.
    """
    left = DERIVED_MAX
    for scanned in objects:
        text, (low, high) = _scan_object(scanned)
        for found in parse_descriptor(text, params):
            indexes = range(low, high + 1) if found.is_ranged else range(1)
            left -= len(indexes)
            check_count(DERIVED_MAX - left)
            yield from ((found.script_at(index), found, index) for index in indexes)


def check_count(count: int) -> None:
    """Raise RpcError if a call derives more than DERIVED_MAX scripts."""
    if count > DERIVED_MAX:
        problem = f"more than {DERIVED_MAX:,} scripts: use smaller ranges or fewer descriptors"
        raise RpcError(Code.INVALID_PARAMETER, problem)


def _scan_object(scanned: Json) -> tuple[str, tuple[int, int]]:
    text, bounds = scanned, _RANGE
    if isinstance(scanned, dict):
        text = scanned.get("desc")
        if scanned.get("range") is not None:
            bounds = range_argument(scanned["range"])
    if not isinstance(text, str):
        problem = "Scan object needs to be either a string or an object with key desc"
        raise RpcError(Code.INVALID_PARAMETER, problem)
    return text, bounds
