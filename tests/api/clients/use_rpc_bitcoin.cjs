// Calls methods of rpc-bitcoin's RPCClient. Arguments: the port, user, password, and a JSON array of
// [method, argument]. Prints a JSON array of {result} or {error}.
"use strict";
const { RPCClient } = require("rpc-bitcoin");

async function main([port, user, pass, calls]) {
  const client = new RPCClient({ url: "http://127.0.0.1", port: Number(port), user, pass, timeout: 10000 });
  const seen = [];
  for (const [method, argument] of JSON.parse(calls)) {
    const made = argument === null ? client[method]() : client[method](argument);
    seen.push(await made.then((result) => ({ result }), (error) => ({ error })));
  }
  console.log(JSON.stringify(seen));
}

main(process.argv.slice(2));
