// Makes calls with jayson, as btc-rpc-explorer's app.js does. Arguments: the port, user, password, and a JSON
// array of [method, parameters]. Prints a JSON array of answers.
"use strict";
const jayson = require("jayson/promise");

async function main([port, username, password, calls]) {
  const authorization = "Basic " + Buffer.from(`${username}:${password}`).toString("base64");
  const headers = { Authorization: authorization };
  const client = jayson.Client.http({ host: "127.0.0.1", port, username, password, timeout: 10000, headers });
  const asked = JSON.parse(calls).map(([method, parameters]) => client.request(method, parameters));
  console.log(JSON.stringify(await Promise.all(asked)));
}

main(process.argv.slice(2));
