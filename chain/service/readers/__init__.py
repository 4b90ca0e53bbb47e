"""Processes that only read: they follow the database that a node writes, and answer its API."""
