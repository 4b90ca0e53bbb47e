// What @bitcoinerlab/explorer sees of a node. Arguments: the API's URL, an address, a txid, a raw transaction
// to send. Prints JSON.
"use strict";
const { EsploraExplorer } = require("@bitcoinerlab/explorer");

async function main([url, address, txid, raw]) {
  const explorer = new EsploraExplorer({ url });
  await explorer.connect();
  const seen = {
    connected: await explorer.isConnected(),
    height: await explorer.fetchBlockHeight(),
    address: await explorer.fetchAddress(address),
    history: await explorer.fetchTxHistory({ address }),
    block: await explorer.fetchBlockStatus(0),
    raw: await explorer.fetchTx(txid),
    fees: await explorer.fetchFeeEstimates(),
    sent: await explorer.push(raw),
  };
  seen.refused = await explorer.push("00").then(() => "", (error) => error.message);
  explorer.close();
  console.log(JSON.stringify(seen));
}

main(process.argv.slice(2));
