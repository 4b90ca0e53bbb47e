"""The script engine: whether an input may spend a coin. Pure: bytes and flags in, a verdict out."""
