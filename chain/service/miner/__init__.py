"""`groat mine`: a miner for any node that speaks getblocktemplate."""
