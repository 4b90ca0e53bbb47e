"""What is allowed: pure functions and Params. No I/O, no clock, no chance, no state."""
