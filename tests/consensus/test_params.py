"""Networks, their genesis blocks, and networks of one's own."""

from dataclasses import asdict, fields, replace

import pytest

from chain.consensus.genesis import genesis_block
from chain.consensus.header import check_header_work
from chain.consensus.params import (
    MAIN,
    NETWORKS,
    REGTEST,
    Params,
    ParamsError,
    identity_before_scripts,
    network_identity,
    params_from_table,
)
from chain.consensus.subsidy import block_subsidy, supply_after
from chain.primitives.numbers import id_text


def table(**changes) -> dict:
    """Return the table of a network of one's own."""
    values = asdict(replace(REGTEST, name="mine"))
    return {k: v.hex() if isinstance(v, bytes) else v for k, v in values.items()} | changes


def test_regtest_genesis_is_bitcoins():
    block = genesis_block(REGTEST)
    assert id_text(block.id) == "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"
    assert block.raw.hex().startswith("0100000000000000000000000000000000000000000000000000000000")
    assert id_text(block.header.merkle_root).startswith("4a5e1e4baab89f3a32518a88c31bc87f")


@pytest.mark.parametrize("params", NETWORKS.values(), ids=lambda p: p.name)
def test_each_genesis_meets_its_own_bits(params):
    check_header_work(genesis_block(params).header, params)


def test_no_two_networks_share_what_tells_them_apart():
    for name in ("magic", "bech32_prefix"):
        assert len({getattr(params, name) for params in NETWORKS.values()}) == len(NETWORKS)
    assert len({genesis_block(params).id for params in NETWORKS.values()}) == len(NETWORKS)


@pytest.mark.parametrize("name", [field.name for field in fields(Params)])
def test_the_identity_covers_every_field(name):
    value = getattr(MAIN, name)
    other = value + (b"x" if isinstance(value, bytes) else "x" if isinstance(value, str) else 1)
    assert network_identity(replace(MAIN, **{name: other})) != network_identity(MAIN)


def test_a_table_gives_the_params_it_was_made_from():
    assert params_from_table(table()) == replace(REGTEST, name="mine")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extra": 1}, "unknown field 'extra'"),
        ({"spacing_s": "600"}, "'spacing_s' must be of type int"),
        ({"spacing_s": True}, "'spacing_s' must be of type int"),
        ({"spacing_s": 0}, "'spacing_s' is out of range"),
        ({"magic": "zz"}, "'magic' is not hex"),
        ({"magic": "00"}, "'magic' is out of range"),
        ({"name": "main"}, "'name' is out of range"),
        ({"name": "../x"}, "'name' is out of range"),
        ({"bech32_prefix": "1"}, "'bech32_prefix' is out of range"),
        ({"target_limit_bits": 0}, "'target_limit_bits' is out of range"),
        ({"genesis_bits": 1 << 33}, "'genesis_bits' is out of range"),
        ({"subsidy_start": 10**15}, "'subsidy_start' is out of range"),
        ({"pubkey_address_prefix": 256}, "'pubkey_address_prefix' is out of range"),
        (
            {"pubkey_address_prefix": 7, "script_address_prefix": 7},  # an address would mean two
            "'script_address_prefix' is out of range",
        ),
    ],
)
def test_a_wrong_field_is_named(changes, message):
    with pytest.raises(ParamsError, match=message):
        params_from_table(table(**changes))


@pytest.mark.parametrize("params", NETWORKS.values(), ids=lambda p: p.name)
def test_every_built_in_network_keeps_the_bounds_of_a_network_file(params):
    values = asdict(replace(params, name="mine"))
    given = {k: v.hex() if isinstance(v, bytes) else v for k, v in values.items()}
    assert params_from_table(given) == replace(params, name="mine")


def test_a_missing_field_is_named():
    given = table()
    del given["magic"]
    with pytest.raises(ParamsError, match="'magic' is missing"):
        params_from_table(given)


@pytest.mark.parametrize(
    ("height", "subsidy"),
    [
        (1, 50_0000_0000),
        (149, 50_0000_0000),
        (150, 25_0000_0000),
        (299, 25_0000_0000),
        (300, 12_5000_0000),
    ],
)
def test_the_subsidy_halves_at_its_height_and_not_before(height, subsidy):
    assert block_subsidy(height, REGTEST) == subsidy


def test_after_64_halvings_there_is_no_subsidy():
    assert block_subsidy(150 * 64, REGTEST) == 0
    assert block_subsidy(150 * 10**6, REGTEST) == 0


@pytest.mark.parametrize("height", [0, 1, 149, 150, 151, 449, 450, 1000])
def test_supply_is_the_sum_of_all_subsidies(height):
    assert supply_after(height, REGTEST) == sum(
        block_subsidy(h, REGTEST) for h in range(1, height + 1)
    )


def test_supply_never_passes_the_greatest_amount():
    for params in NETWORKS.values():
        assert supply_after(params.subsidy_halving_blocks * 70, params) <= params.amount_max


@pytest.mark.parametrize(
    ("name", "identity"),
    [
        ("main", "636b469ecb366dc458a38eaab44b67ec455658de0475be15631ae23b975fae8f"),
        ("test", "9fe07d6b9e00694d25e71cf2b1836f89f6ae494553547f42b04e4f089e17ec43"),
        ("devnet", "db3e3e6ca0b69442a0a34ab90e2323fc922334fb2e36452c2b7633c48b038e5b"),
        ("regtest", "e85f01e32458e3b439c4c6570fbac00b5d0fb10062449ca5f344a3a464042c6b"),
    ],
)
def test_no_field_of_a_built_in_network_has_changed(name, identity):
    assert network_identity(NETWORKS[name]).hex() == identity


def test_the_identity_of_every_built_in_network_is_pinned():
    assert list(NETWORKS) == ["main", "test", "devnet", "regtest"]


@pytest.mark.parametrize(
    ("name", "identity"),
    [  # network_identity of commit 9697a37
        ("main", "fe0a399deeca7ec0a564d84c171cbb53d39b34c9ff19d66904e4a36b5aa750ba"),
        ("test", "be3ca7a1aab94e7f31ecd6e23f96d43a0595c0094264346d93f88b982013e63f"),
        ("devnet", "39a2efea1b58fbbd1e1afed5be227bd591f3b1896cc809f5cadb96d54f69ede0"),
        ("regtest", "7ceefe80c26b481026618eefd6d01fbb82f86e4a6c1b79d7be4d42d4f6094da9"),
    ],
)
def test_the_identity_of_the_time_before_scripts_is_known(name, identity):
    assert identity_before_scripts(NETWORKS[name]).hex() == identity
    assert network_identity(NETWORKS[name]).hex() != identity
