"""Make calls with python-bitcoinlib's Proxy, each on a connection of its own.

Arguments: the port, user, password, and a JSON array of [method, parameter...]. Prints a JSON array
of results.
"""

import json
import sys

from bitcoin.rpc import Proxy

port, user, password, calls = sys.argv[1:]
url = f"http://{user}:{password}@127.0.0.1:{port}"
seen = [Proxy(service_url=url).call(*call) for call in json.loads(calls)]
print(json.dumps(seen, default=float))  # it gives fractions as Decimal
