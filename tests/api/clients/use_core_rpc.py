"""Call and batch with bitcoin-core-rpc.

Arguments: the port, user, password, and a JSON array of [method, parameters]. Prints the results of
one batch and of the same calls one by one; an error as {"code", "message"}.
"""

import json
import sys

from bitcoin_core_rpc import BitcoinCoreRpcClient, RpcError

port, user, password, calls = sys.argv[1:]
client = BitcoinCoreRpcClient(f"http://127.0.0.1:{port}", user=user, password=password)
asked = [(method, parameters) for method, parameters in json.loads(calls)]


def as_json(result):
    """Return an error as a JSON object, and any other value unchanged."""
    if isinstance(result, RpcError):
        text = result.args[0].rsplit(": ", 1)[-1]  # before it: who asked
        return {"code": result.code, "message": text}
    return result


def one(method, parameters):
    try:
        return client.call(method, parameters)
    except RpcError as error:
        return as_json(error)


batch = [as_json(result) for result in client.call_batch(asked)]
print(json.dumps({"batch": batch, "calls": [one(*call) for call in asked]}, default=str))
