"""The rules of the simulated network: those of a public one, with trivial proof of work."""

from typing import Final

from chain.consensus.params import Params
from chain.primitives.numbers import GRAINS_PER_GROAT, Amount

START_S: Final = 1_800_000_000  # the start of simulated time, unix seconds

SIMULATION: Final = Params(
    name="simulation",
    magic=bytes.fromhex("5119e7aa"),
    bech32_prefix="sgroat",
    pubkey_address_prefix=66,
    script_address_prefix=127,
    secret_key_prefix=194,
    bip44_coin_type=1,
    genesis_message="groat simulation: small coins, no work, everyone in charge",
    genesis_time=START_S - 600,
    genesis_bits=0x207FFFFF,
    genesis_nonce=0,
    genesis_value=Amount(0),
    genesis_script=b"\x6a",
    spacing_s=120,
    target_limit_bits=0x207FFFFF,  # every second header meets it
    asert_half_life_s=0,
    subsidy_start=Amount(10 * GRAINS_PER_GROAT),
    subsidy_halving_blocks=1_050_000,
    amount_max=Amount(21_000_000 * GRAINS_PER_GROAT),
    coinbase_maturity_blocks=2,  # so that short runs have coins to spend
    header_ahead_s_max=600,
)
