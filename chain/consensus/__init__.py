"""The consensus rules: pure functions and Params. No I/O, clock, randomness or state."""
