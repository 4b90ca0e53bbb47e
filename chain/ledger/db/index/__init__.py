"""The indexes of transactions and of script histories: their rows, digests and look-ups."""
