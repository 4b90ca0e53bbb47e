"""The choices of the command line, importable without the simulator."""

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
