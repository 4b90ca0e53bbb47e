"""Searching nonces. A kernel hashes, a miner runs kernels on threads; neither knows the node."""
