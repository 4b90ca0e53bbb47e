"""The commands, a file for each group: each reads its flags, calls the parts, and prints."""
