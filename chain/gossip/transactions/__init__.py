"""Transactions: announcements, requests, orphans, fee filters."""
