"""Ledger and mempool. Deterministic: no clock, thread or randomness; `now` is an argument."""
