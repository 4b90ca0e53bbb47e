"""The ledger: the chain and its unspent coins in SQL. One thread writes, any thread may read."""
