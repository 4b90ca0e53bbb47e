"""The command line of the node: what each command takes, and how it shows its result."""
