"""The script engine: whether an input may spend a coin. No I/O."""
