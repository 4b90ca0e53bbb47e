"""JSON-RPC: the deployments of Bitcoin's soft forks on this network, and their heights."""

from typing import Final

from chain.primitives.numbers import id_text
from chain.service.api.error_codes import Code
from chain.service.api.exact_json import Json
from chain.service.api.rpc.errors import RpcError
from chain.service.api.rpc.method import Method
from chain.service.api.rpc.values import hash_argument
from chain.service.api.snapshot import NodeSnapshot

_HEIGHTS: Final = {  # of activation: the first block, on every network
    "bip34": 1,  # the height in the coinbase
    "bip65": 1,  # OP_CHECKLOCKTIMEVERIFY
    "bip66": 1,  # strict DER
    "csv": 1,  # BIP68, BIP112 and BIP113
    "segwit": 1,
    "taproot": 1,
}


def getdeploymentinfo(snapshot: NodeSnapshot, blockhash: str | None = None) -> Json:
    """Return the deployments of soft forks, as of the block after the tip or another block."""
    entry = snapshot.tip if blockhash is None else snapshot.entry(hash_argument(blockhash))
    if entry is None:
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, "Block not found")
    deployments = {
        name: {"type": "buried", "active": entry.height + 1 >= height, "height": height}
        for name, height in _HEIGHTS.items()
    }
    return {"hash": id_text(entry.id), "height": entry.height, "deployments": deployments}


METHODS: Final = (Method(getdeploymentinfo, "Blockchain"),)
