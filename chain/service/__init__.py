"""The outside: sockets, threads, clocks and files around the deterministic core."""
