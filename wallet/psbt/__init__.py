"""Partially signed transactions (BIP174)."""
