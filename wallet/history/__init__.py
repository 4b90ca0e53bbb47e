"""What the chain says of a wallet: scan, cache, coins and history."""
