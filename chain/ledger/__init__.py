"""The ledger: what the chain is and who owns what, kept in SQL. One thread writes, any may read."""
