"""The service: sockets, threads, clocks and files around the deterministic core."""
