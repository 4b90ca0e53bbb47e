"""The wallet: keys and payments on the user's side of the node's HTTP API.

It shares formats and rules with the node (chain.primitives, chain.consensus) and nothing else, and
talks to any Esplora server. Amounts are grains and ids are bytes inside; text exists at the edges
(amounts, fees, esplora, view). Secrets are in `secret`, `derivation` and `keyfile` only.
"""
