"""Simulated networks: many nodes in one process, in simulated time.

Network, disk and processor times are models; the gossip core, the rules and the blocks are the
node's own. Equal seeds give equal runs, in every process.
"""
