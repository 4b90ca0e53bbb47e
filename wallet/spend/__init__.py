"""Payments: coin selection, drafts, replacement."""
