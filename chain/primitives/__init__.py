"""What things are: bytes in, bytes out. Nothing here knows a rule, a clock or a disk."""
