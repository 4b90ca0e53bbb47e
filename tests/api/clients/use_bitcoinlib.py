"""What bitcoinlib's BlockstreamClient sees of a node; run by an interpreter that has bitcoinlib.

Arguments: the API's URL, an address, a txid, a raw transaction to send. Prints JSON.
"""

import json
import sys

from bitcoinlib.services.blockstream import BlockstreamClient

url, address, txid, raw = sys.argv[1:]
client = BlockstreamClient("regtest", f"{url}/", 10**8)
client.latest_block = None
seen = {
    "height": client.blockcount(),
    "balance": client.getbalance([address]),
    "coins": [(coin["txid"], coin["value"]) for coin in client.getutxos(address)],
    "history": [
        (tx.txid, tx.status, tx.block_height, tx.fee) for tx in client.gettransactions(address)
    ],
    "raw": client.getrawtransaction(txid),
    "spent": client.isspent(txid, 0),
    "fee": client.estimatefee(3),
    "sent": client.sendrawtransaction(raw)["txid"],
}
tip = client.getblock(client.blockcount(), True, 1, 25)
seen["block"] = [tx.txid for tx in tip["txs"]]
seen["waits"] = client.mempool(seen["sent"])
print(json.dumps(seen))
