"""Ledger and mempool joined. Deterministic: no clock, no thread, no chance; `now` is passed in."""
