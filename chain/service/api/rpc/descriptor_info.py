"""JSON-RPC: analysis of descriptors and scripts of the supported kinds."""

from typing import Final

from chain.consensus.params import Params
from chain.primitives.address import script_address
from chain.primitives.descriptor import checksum, split_checksum
from chain.primitives.hashes import hash160
from chain.primitives.script import ScriptKind, p2wpkh_script, script_kind
from chain.service.api.error_codes import Code
from chain.service.api.exact_json import Json
from chain.service.api.rpc.core_json import script_json
from chain.service.api.rpc.descriptors import descriptor_key, descriptor_script
from chain.service.api.rpc.errors import RpcError
from chain.service.api.rpc.method import Method
from chain.service.api.snapshot import NodeSnapshot

SCRIPT_BYTES_MAX: Final = 100_000  # of a script to decode; a block may hold longer ones
DESCRIBED_BYTES_MAX: Final = 10_000  # the longest spendable script; longer ones get no descriptor
_COMPRESSED_KEY_BYTES: Final = 33


def getdescriptorinfo(snapshot: NodeSnapshot, descriptor: str) -> Json:
    """Return a descriptor's properties and its checksum.

    Supported are addr(ADDRESS), raw(HEX) and wpkh(PUBLIC KEY), which have one script each.
    """
    descriptor_script(descriptor, snapshot.prefix)
    body = split_checksum(descriptor)
    return {
        "descriptor": _with_checksum(body.lower()),  # the usual form of hex and addresses
        "checksum": checksum(body),
        "isrange": False,
        "issolvable": descriptor_key(descriptor) is not None,
        "hasprivatekeys": False,
    }


def deriveaddresses(
    snapshot: NodeSnapshot,
    descriptor: str,
    range: int | list[Json] | None = None,  # noqa: A002 - Core's name
) -> Json:
    """Return the address of a descriptor, which must have a checksum."""
    if "#" not in descriptor:
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, "Missing checksum")
    script = descriptor_script(descriptor, snapshot.prefix)
    if range is not None:
        problem = "Range should not be specified for an un-ranged descriptor"
        raise RpcError(Code.INVALID_PARAMETER, problem)
    address = script_address(script, snapshot.prefix)
    if address is None:
        problem = "Descriptor does not have a corresponding address"
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, problem)
    return [address]


def decodescript(snapshot: NodeSnapshot, hexstring: str) -> Json:
    """Return a script's operations and type, and the P2WPKH address of its key, if it has one.

    groat has no P2SH addresses, and no addresses of scripts that it cannot spend.
    """
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
    wrapped = _key_hash_of(script)
    if wrapped is not None:
        shape["segwit"] = described_script(p2wpkh_script(wrapped), params)
    return shape


def described_script(script: bytes, params: Params) -> dict[str, Json]:
    """Return an output script with its descriptor (Bitcoin: InferDescriptor)."""
    shape = script_json(script, params)
    desc = {"desc": _inferred(script, params)} if len(script) <= DESCRIBED_BYTES_MAX else {}
    return {"asm": shape.pop("asm"), **desc, **shape}


def _inferred(script: bytes, params: Params) -> str:
    address = script_address(script, params.bech32_prefix)
    return _with_checksum(f"raw({script.hex()})" if address is None else f"addr({address})")


def _with_checksum(text: str) -> str:
    return f"{text}#{checksum(text)}"


def _bytes(hexstring: str) -> bytes:
    """Return the bytes of a hex string without blanks. Raises ValueError."""
    if not hexstring.isalnum() and hexstring:
        raise ValueError("blanks in hex")
    return bytes.fromhex(hexstring)


def _key_hash_of(script: bytes) -> bytes | None:
    """Return the hash of the script's single key, if P2WPKH could pay to that key."""
    kind = script_kind(script)
    if kind is ScriptKind.P2PKH:
        return script[3:23]
    if kind is ScriptKind.P2PK and len(script) == _COMPRESSED_KEY_BYTES + 2:
        return hash160(script[1:-1])
    return None


METHODS: Final = (
    Method(decodescript, "Rawtransactions"),
    Method(getdescriptorinfo, "Util"),
    Method(deriveaddresses, "Util"),
)
