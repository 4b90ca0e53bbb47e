"""JSON-RPC: analysis of descriptors and scripts of the supported kinds."""

from typing import Final

from chain.consensus.params import Params
from chain.primitives.address import script_address
from chain.primitives.descriptor import checksum, split_checksum
from chain.primitives.hashes import hash160, sha256
from chain.primitives.script import (
    is_unspendable,
    operations,
    p2sh_script,
    p2wpkh_script,
    read_operation,
)
from chain.primitives.solver import OutputType, output_type
from chain.script.machine import ITEM_BYTES_MAX
from chain.script.opcodes import SUCCESS
from chain.service.api.error_codes import Code
from chain.service.api.exact_json import Json
from chain.service.api.rpc.core_json import script_json
from chain.service.api.rpc.descriptor_argument import (
    Descriptor,
    check_count,
    parse_descriptor,
)
from chain.service.api.rpc.errors import RpcError
from chain.service.api.rpc.method import Method
from chain.service.api.rpc.values import range_argument
from chain.service.api.snapshot import NodeSnapshot

SCRIPT_BYTES_MAX: Final = 100_000  # of a script to decode; a block may hold longer ones
DESCRIBED_BYTES_MAX: Final = 10_000  # the longest spendable script; longer ones get no descriptor
_COMPRESSED_KEY_BYTES: Final = 33
_OPCODE_MAX: Final = 0xB9  # Bitcoin: MAX_OPCODE
_WRAPPED: Final = frozenset(
    {
        OutputType.NONSTANDARD,
        OutputType.PUBKEY,
        OutputType.PUBKEYHASH,
        OutputType.MULTISIG,
        OutputType.WITNESS_V0_KEYHASH,
        OutputType.WITNESS_V0_SCRIPTHASH,
    }
)


def getdescriptorinfo(snapshot: NodeSnapshot, descriptor: str) -> Json:
    """Return a descriptor's properties and its checksum, and its expansion if it has several paths.

    Supported are addr(ADDRESS), raw(HEX) and wpkh(PUBLIC KEY), extended ones too; no private keys.
    """
    found = parse_descriptor(descriptor, snapshot.api.params)
    texts = [_with_checksum(_usual(each, snapshot)) for each in found]
    return {
        "descriptor": texts[0],
        **({"multipath_expansion": list[Json](texts)} if len(texts) > 1 else {}),
        "checksum": checksum(split_checksum(descriptor)),
        "isrange": found[0].is_ranged,
        "issolvable": found[0].key is not None,
        "hasprivatekeys": False,
    }


def _usual(found: Descriptor, snapshot: NodeSnapshot) -> str:
    """Return a descriptor in its usual form, an address in its usual case."""
    if not found.text.startswith("addr("):
        return found.text
    return f"addr({script_address(found.script, snapshot.prefixes)})"


def deriveaddresses(
    snapshot: NodeSnapshot,
    descriptor: str,
    range: int | list[Json] | None = None,  # noqa: A002 - Core's name
) -> Json:
    """List the addresses of a descriptor, which must have a checksum; of a ranged one, in a range.

    Of a descriptor with several paths, such as <0;1>, it is a list for each path.
    """
    if "#" not in descriptor:
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, "Missing checksum")
    found = parse_descriptor(descriptor, snapshot.api.params)
    if range is None and found[0].is_ranged:
        problem = "Range must be specified for a ranged descriptor"
        raise RpcError(Code.INVALID_PARAMETER, problem)
    if range is not None and not found[0].is_ranged:
        problem = "Range should not be specified for an un-ranged descriptor"
        raise RpcError(Code.INVALID_PARAMETER, problem)
    low, high = (0, 0) if range is None else range_argument(range)
    check_count(len(found) * (high - low + 1))
    lists = [_addresses(each, low, high, snapshot) for each in found]
    return lists[0] if len(lists) == 1 else list[Json](lists)


def _addresses(found: Descriptor, low: int, high: int, snapshot: NodeSnapshot) -> list[Json]:
    addresses: list[Json] = []
    for index in range(low, high + 1):
        address = script_address(found.script_at(index), snapshot.prefixes)
        if address is None:
            problem = "Descriptor does not have a corresponding address"
            raise RpcError(Code.INVALID_ADDRESS_OR_KEY, problem)
        addresses.append(address)
    return addresses


def decodescript(snapshot: NodeSnapshot, hexstring: str) -> Json:
    """Return a script's operations and type, and the addresses that it can be wrapped in."""
    if len(hexstring) > 2 * SCRIPT_BYTES_MAX:
        problem = f"argument must have at most {SCRIPT_BYTES_MAX} bytes"
        raise RpcError(Code.INVALID_PARAMETER, problem)
    try:
        script = _bytes(hexstring)
    except ValueError:
        problem = f"argument must be hexadecimal string (not '{hexstring[:128]}')"
        raise RpcError(Code.INVALID_PARAMETER, problem) from None
    params = snapshot.api.params
    shape = described_script(script, params)
    del shape["hex"]  # as in Core: the caller has it
    return shape | _wraps(script, params)


def described_script(script: bytes, params: Params) -> dict[str, Json]:
    """Return an output script with its descriptor (Bitcoin: InferDescriptor)."""
    shape = script_json(script, params)
    desc = {"desc": _inferred(script, params)} if len(script) <= DESCRIBED_BYTES_MAX else {}
    return {"asm": shape.pop("asm"), **desc, **shape}


def _inferred(script: bytes, params: Params) -> str:
    address = script_address(script, params.address_prefixes)
    return _with_checksum(f"raw({script.hex()})" if address is None else f"addr({address})")


def _with_checksum(text: str) -> str:
    return f"{text}#{checksum(text)}"


def _bytes(hexstring: str) -> bytes:
    """Return the bytes of a hex string without blanks. Raises ValueError."""
    if not hexstring.isalnum() and hexstring:
        raise ValueError("blanks in hex")
    return bytes.fromhex(hexstring)


def _wraps(script: bytes, params: Params) -> dict[str, Json]:
    """Return the P2SH address of a script, and the witness program that runs it with its address.

    Neither for scripts that cannot be wrapped or never be spent (Bitcoin: can_wrap).
    """
    kind = output_type(script)
    if kind not in _WRAPPED or not _may_run(script):
        return {}
    shape: dict[str, Json] = {"p2sh": _p2sh_address(script, params)}
    program = _witness_form(script, kind)
    if program is not None:
        nested = {"p2sh-segwit": _p2sh_address(program, params)}
        shape["segwit"] = {**described_script(program, params), **nested}
    return shape


def _p2sh_address(script: bytes, params: Params) -> str | None:
    return script_address(p2sh_script(hash160(script)), params.address_prefixes)


def _may_run(script: bytes) -> bool:
    """Return whether a script has only operations that may run in P2SH and P2WSH."""
    at = 0
    while at < len(script):
        operation = read_operation(script, at)
        if operation is None:
            return False
        opcode, data, at = operation
        if opcode > _OPCODE_MAX or opcode in SUCCESS or len(data or b"") > ITEM_BYTES_MAX:
            return False
    return not is_unspendable(script)


def _witness_form(script: bytes, kind: OutputType) -> bytes | None:
    """Return the witness program that can be paid instead of a script, or None."""
    if kind is OutputType.PUBKEYHASH:
        return p2wpkh_script(script[3:23])
    if kind is OutputType.PUBKEY:
        key = script[1:-1]
        return p2wpkh_script(hash160(key)) if len(key) == _COMPRESSED_KEY_BYTES else None
    if kind is OutputType.MULTISIG:
        keys = [data for _, data in operations(script)][1:-2]
        if any(len(key or b"") != _COMPRESSED_KEY_BYTES for key in keys):
            return None
    elif kind is not OutputType.NONSTANDARD:
        return None
    return b"\x00\x20" + sha256(script)


METHODS: Final = (
    Method(decodescript, "Rawtransactions"),
    Method(getdescriptorinfo, "Util"),
    Method(deriveaddresses, "Util"),
)
