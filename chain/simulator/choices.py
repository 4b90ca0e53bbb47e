"""What the command line offers of the simulator, without loading it."""

from typing import Final

NODES_MAX: Final = 1024
SCENARIOS: Final = (
    "steady",
    "nat",
    "sync",
    "partition",
    "churn",
    "slow",
    "clocks",
    "crashes",
    "spam",
    "censorship",
    "byzantine",
)  # the keys of CATALOGUE
