"""Data types and their encodings; independent of rules, clocks and storage."""
