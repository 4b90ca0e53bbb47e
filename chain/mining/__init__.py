"""The search for nonces: kernels hash, a miner runs them on threads; independent of the node."""
