"""A wallet's view of the chain: scan, cache, coins and history."""
