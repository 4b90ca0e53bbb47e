"""JSON-RPC: the coins that descriptors lock."""

from typing import Final

from chain.primitives.descriptor import checksum
from chain.primitives.hashes import sha256
from chain.primitives.numbers import id_text, outpoint_index, outpoint_txid
from chain.service.api.error_codes import Code
from chain.service.api.exact_json import CoinValue, Json
from chain.service.api.rpc.descriptor_argument import described_scripts
from chain.service.api.rpc.errors import RpcError
from chain.service.api.rpc.method import Method
from chain.service.api.snapshot import NodeSnapshot

SCANNED_SCRIPTS_MAX: Final = 100
SCANNED_COINS_MAX: Final = 10_000
SCANNED_BYTES_MAX: Final = 10_000_000  # of scripts, one per coin; the reply has them twice in hex


def scantxoutset(
    snapshot: NodeSnapshot, action: str, scanobjects: list[Json] | None = None
) -> Json:
    """List the coins that descriptors lock (`start`), from an index.

    A range is 0 to 1000 if none is given; all descriptors have at most 5,000 scripts together. One
    scan at a time; it takes at most a second, so `status` and `abort` never find one.
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
    described = described_scripts(scanobjects, snapshot.api.params)
    scripts = dict.fromkeys(script for script, _, _ in described)
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
