"""The commands, a file for each group: each reads its flags, asks the parts, and shows."""
