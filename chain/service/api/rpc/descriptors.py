"""JSON-RPC: descriptors of one script each, and the coins that they lock."""

import re
from typing import Final

from chain.primitives.address import AddressPrefixes
from chain.primitives.descriptor import DescriptorError, checksum, split_checksum
from chain.primitives.hashes import hash160, sha256
from chain.primitives.numbers import id_text, outpoint_index, outpoint_txid
from chain.primitives.script import p2wpkh_script
from chain.primitives.signature import is_public_key
from chain.service.api.error_codes import Code
from chain.service.api.exact_json import CoinValue, Json
from chain.service.api.rpc.errors import RpcError
from chain.service.api.rpc.method import Method
from chain.service.api.rpc.values import address_argument, range_argument
from chain.service.api.snapshot import NodeSnapshot

SCANNED_SCRIPTS_MAX: Final = 100
SCANNED_COINS_MAX: Final = 10_000
SCANNED_BYTES_MAX: Final = 10_000_000  # of scripts, one per coin; the reply has them twice in hex
_CHARACTERS_MAX: Final = 20_000  # a script of 10,000 bytes, which is the longest, in hex
_FORM: Final = re.compile(
    r"addr\((?P<address>\w+)\)"
    r"|raw\((?P<script>(?:[0-9a-fA-F]{2})+)\)"
    r"|wpkh\((?P<key>0[23][0-9a-fA-F]{64})\)",
    re.ASCII,
)
_FORMS: Final = "only addr(ADDRESS), raw(HEX) and wpkh(PUBLIC KEY) are supported"


def scantxoutset(
    snapshot: NodeSnapshot, action: str, scanobjects: list[Json] | None = None
) -> Json:
    """List the coins that descriptors of one script each lock (`start`), from an index.

    One scan at a time; it takes at most a second, so `status` and `abort` never find one.
    """
    if action in {"status", "abort"}:
        return None if action == "status" else False
    if action != "start":
        problem = f"Invalid action '{action[:64]}'"
        raise RpcError(Code.INVALID_PARAMETER, problem)
    if scanobjects is None:
        problem = "scanobjects argument is required for the start action"
        raise RpcError(Code.MISC, problem)
    if len(scanobjects) > SCANNED_SCRIPTS_MAX:
        problem = f"scanobjects must hold at most {SCANNED_SCRIPTS_MAX} descriptors"
        raise RpcError(Code.INVALID_PARAMETER, problem)
    if not snapshot.api.limits.scanning.acquire(blocking=False):
        problem = 'Scan already in progress, use action "abort" or "status"'
        raise RpcError(Code.INVALID_PARAMETER, problem)
    try:
        return _scan(snapshot, scanobjects)
    finally:
        snapshot.api.limits.scanning.release()


def _scan(snapshot: NodeSnapshot, scanobjects: list[Json]) -> Json:
    texts = map(descriptor_text, scanobjects)
    scripts = dict.fromkeys(descriptor_script(text, snapshot.prefixes) for text in texts)
    unspents: list[dict[str, Json]] = []
    left = SCANNED_BYTES_MAX
    for script in scripts:
        found = _coins(
            snapshot, script, min(SCANNED_COINS_MAX - len(unspents), left // len(script))
        )
        unspents += found
        left -= len(found) * len(script)
    total = sum(coin["amount"].grains for coin in unspents)
    return {
        "success": True,
        "txouts": len(unspents),  # only these were examined, thanks to the index
        "height": snapshot.tip.height,
        "bestblock": id_text(snapshot.tip.id),
        "unspents": unspents,
        "total_amount": CoinValue(total),
    }


def descriptor_script(text: str, prefixes: AddressPrefixes) -> bytes:
    """Return a descriptor's output script. Raises RpcError INVALID_ADDRESS_OR_KEY."""
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
        return address_argument(form["address"], prefixes)
    if form["script"] is not None:
        return bytes.fromhex(form["script"])
    key = bytes.fromhex(form["key"])
    if not is_public_key(key):  # coins sent there could never be spent
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, f"wpkh(): Pubkey '{key.hex()}' is invalid")
    return p2wpkh_script(hash160(key))


def descriptor_key(text: str) -> bytes | None:
    """Return the public key in a valid descriptor, or None."""
    form = _FORM.fullmatch(split_checksum(text))
    return None if form is None or form["key"] is None else bytes.fromhex(form["key"])


def descriptor_text(scanned: Json) -> str:
    """Return the descriptor of a scan object: a text, or an object with an optional range.

    A range must be valid, but has no effect: no supported descriptor is ranged.
    """
    text = scanned.get("desc") if isinstance(scanned, dict) else scanned
    if isinstance(scanned, dict) and scanned.get("range") is not None:
        range_argument(scanned["range"])
    if not isinstance(text, str):
        problem = "Scan object needs to be either a string or an object with key desc"
        raise RpcError(Code.INVALID_PARAMETER, problem)
    return text


def _coins(snapshot: NodeSnapshot, script: bytes, limit: int) -> list[dict[str, Json]]:
    found = snapshot.ledger.script_coins(sha256(script), limit=limit + 1)
    if len(found) > limit:
        problem = (
            f"more than {SCANNED_COINS_MAX} coins, or {SCANNED_BYTES_MAX} bytes of their scripts: "
            "request fewer scripts"
        )
        raise RpcError(Code.INVALID_PARAMETER, problem)
    if not found:
        return []  # a long script's checksum takes a while
    raw = f"raw({script.hex()})"
    desc = f"{raw}#{checksum(raw)}"
    return [
        {
            "txid": id_text(outpoint_txid(point)),
            "vout": outpoint_index(point),
            "scriptPubKey": script.hex(),
            "desc": desc,
            "amount": CoinValue(coin.value),
            "coinbase": coin.from_coinbase,
            "height": coin.height,
            "blockhash": id_text(snapshot.tip.ancestor(coin.height).id),
            "confirmations": snapshot.tip.height - coin.height + 1,
        }
        for point, coin in found
    ]


METHODS: Final = (Method(scantxoutset, "Blockchain"),)
