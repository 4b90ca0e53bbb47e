"""Keys: words, derivation, key files and descriptors."""
