"""bech32 and bech32m addresses."""

import json

import pytest
from btclib import b32, bech32
from hypothesis import given
from hypothesis import strategies as st

from chain.primitives.address import AddressError, address_script, p2wpkh_address, script_address

# BIP173 and BIP350
ADDRESSES = [
    (
        "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4",
        "bc",
        "0014751e76e8199196d454941c45d1b3a323f1433bd6",
    ),
    (
        "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
        "bc",
        "512079be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
    ),
    ("BC1SW50QGDZ25J", "bc", "6002751e"),
]


@pytest.mark.parametrize(("address", "prefix", "script"), ADDRESSES)
def test_addresses_of_the_bips(address, prefix, script):
    assert address_script(address, prefix).hex() == script
    assert script_address(bytes.fromhex(script), prefix) == address.lower()


@given(st.binary(min_size=20, max_size=20), st.sampled_from(["groat", "tgroat", "dgroat", "bcrt"]))
def test_a_p2wpkh_address_reads_back(key_hash, prefix):
    address = p2wpkh_address(key_hash, prefix)
    assert address_script(address, prefix) == b"\x00\x14" + key_hash


@given(st.binary(min_size=2, max_size=40), st.integers(1, 16), st.text("abcgrt1", min_size=1))
def test_addresses_of_any_program_are_btclibs(program, version, prefix):
    script = bytes([0x50 + version, len(program)]) + program
    address = b32.address_from_witness(version, program, "mainnet")
    assert script_address(script, "bc") == address
    longer = script_address(script, prefix)
    assert bech32.decode(longer)[0] == prefix
    if len(longer) <= 90:
        assert address_script(longer, prefix) == script


@given(st.binary(min_size=20, max_size=20), st.data())
def test_one_wrong_character_is_always_noticed(key_hash, data):
    address = p2wpkh_address(key_hash, "groat")
    at = data.draw(st.integers(6, len(address) - 1))
    wrong = data.draw(
        st.sampled_from("qpzry9x8gf2tvdw0s3jn54khce6mua7l").filter(lambda c: c != address[at])
    )
    with pytest.raises(AddressError):
        address_script(address[:at] + wrong + address[at + 1 :], "groat")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "starts with bc1, not groat1"),
        ("groat1" + "q" * 90, "at most 90 characters"),
        ("groat", "addresses here start with groat1"),
        ("", "addresses here start with groat1"),
        ("gröat1qqqqqqqq", "not an address"),
        ("1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "Base58.*start with groat1"),
        ("3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy", "Base58.*start with groat1"),
        ("mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn", "Base58.*start with groat1"),
        ("LM2WMpR1Rp6j3Sa59cMXMs1SPzj9eXpGc1", "Base58.*start with groat1"),
        ("4" + "A" * 44, "Base58.*start with groat1"),
        ("5HueCGU8rMjxEXxiPuD5BDku4MkFqeZyd4dZ1jvhTVqvbTLvyTJ", "a private key"),
        ("KwDiBf89QgGbjEhKnhXJuH7LrciVrZi3qYjgd9M7rFU73sVHnoWn", "a private key"),
        ("xprv" + "A" * 107, "a private key, which nobody else should see"),
        ("tpub" + "A" * 107, "an extended public key"),
        ("0x" + "aB" * 20, "Ethereum"),
        ("02" + "ab" * 32, "a public key"),
        ("lnbc1" + "q" * 60, "a Lightning invoice"),
        ("someone@example.org", "an e-mail address"),
        ("LTC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KGMN4N9", "starts with ltc1, not groat1"),
        ("groat1qqqqqq1qqqqqqq", "it starts with groat1qqqqqq1|not an address"),
        ("groat1Qqqqqqqqqqq", "mixed case"),
    ],
)
def test_what_is_no_address_is_named(address, message):
    with pytest.raises(AddressError, match=message) as caught:
        address_script(address, "groat")
    assert "HRP" not in str(caught.value)


@pytest.mark.parametrize(
    "script", ["", "6a", "76a914" + "00" * 20 + "88ac", "0015" + "00" * 21, "0014"]
)
def test_other_scripts_have_no_address(script):
    assert script_address(bytes.fromhex(script), "groat") is None


def test_vectors_of_bip173_and_bip350(vectors):
    rows = json.loads((vectors / "bech32" / "bip350.json").read_text())
    good = [row for row in rows["valid_address"] if row[0][:2].lower() in {"bc", "tb"}]
    for address, script in good:
        assert address_script(address, address.lower().partition("1")[0]).hex() == script
    for row in rows["invalid_address"]:
        address = row[0] if isinstance(row, list) else row
        for prefix in ("bc", "tb"):
            with pytest.raises(AddressError):
                address_script(address, prefix)
    assert len(good) >= 6
