"""Whole-ledger commands: import, export, check."""
