"""Esplora's HTTP API, compatible with existing wallets and explorers."""
