"""Peers: addresses, connections, handshakes, eviction."""
