"""Many nodes in one process and no real time: the node's own gossip core on a seeded heap.

The network, the disk's and the processor's time are models; the protocol, the rules and the blocks
are real. Equal seeds give equal runs, in every process.
"""
