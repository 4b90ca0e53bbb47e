"""Esplora's HTTP API, as wallets and explorers that nobody here wrote expect it."""
