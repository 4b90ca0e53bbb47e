"""Disagreements that are known and not yet settled; each has a test in test_regressions.py."""

from typing import Final

SCRIPT_ORDER: Final = (
    "with a wrong script and another fault in one block, Core's kernel tells the one that comes "
    "first in the block (it runs scripts at once); groat tells wrong scripts last"
)
FALSE_PROGRAM: Final = "a key hash of zeros is false on the stack to Core; groat sees another key"

_SCRIPT_FAULTS: Final = (
    "repeated tail",
    "coinbase amount",
    "relative lock",
    "missing",
    "immature",
    "below out",
    "sigops with inputs",
    "signature",
    "no witness",
    "key",
    "odd spend",
)
PENDING: Final = {
    **{f"faults.fault_beside_each_other[{name}]": SCRIPT_ORDER for name in _SCRIPT_FAULTS},
    "faults.three_faults": SCRIPT_ORDER,
    "faults.four_faults": SCRIPT_ORDER,
    f"witnesses.coin_of_a_key_hash_that_reads_as_false[{bytes(20).hex()}]": FALSE_PROGRAM,
    f"witnesses.coin_of_a_key_hash_that_reads_as_false[{bytes(19).hex()}80]": FALSE_PROGRAM,
}
