"""bech32, bech32m and base58check addresses."""

import json

import pytest
from btclib import b32, b58, bech32
from hypothesis import given
from hypothesis import strategies as st

from chain.consensus.params import DEVNET, MAIN, NETWORKS, REGTEST, TEST
from chain.primitives.address import (
    AddressError,
    AddressPrefixes,
    address_script,
    foreign_address_scripts,
    p2wpkh_address,
    script_address,
    shown_address_script,
)
from chain.primitives.script import p2pkh_script, p2sh_script


def bitcoin(prefix: str) -> AddressPrefixes:
    """Return the prefixes of Bitcoin's main network, but for the bech32 one."""
    return AddressPrefixes(prefix, pubkey=0, script=5)


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
    assert address_script(address, bitcoin(prefix)).hex() == script
    assert script_address(bytes.fromhex(script), bitcoin(prefix)) == address.lower()


@given(st.binary(min_size=20, max_size=20), st.sampled_from(["groat", "tgroat", "dgroat", "bcrt"]))
def test_a_p2wpkh_address_reads_back(key_hash, prefix):
    address = p2wpkh_address(key_hash, prefix)
    assert address_script(address, bitcoin(prefix)) == b"\x00\x14" + key_hash


@given(st.binary(min_size=2, max_size=40), st.integers(1, 16), st.text("abcgrt1", min_size=1))
def test_addresses_of_any_program_are_btclibs(program, version, prefix):
    script = bytes([0x50 + version, len(program)]) + program
    address = b32.address_from_witness(version, program, "mainnet")
    assert script_address(script, bitcoin("bc")) == address
    longer = script_address(script, bitcoin(prefix))
    assert bech32.decode(longer)[0] == prefix
    if len(longer) <= 90:
        assert address_script(longer, bitcoin(prefix)) == script


@given(st.binary(min_size=20, max_size=20), st.data())
def test_one_wrong_character_is_always_noticed(key_hash, data):
    address = p2wpkh_address(key_hash, "groat")
    at = data.draw(st.integers(6, len(address) - 1))
    wrong = data.draw(
        st.sampled_from("qpzry9x8gf2tvdw0s3jn54khce6mua7l").filter(lambda c: c != address[at])
    )
    with pytest.raises(AddressError):
        address_script(address[:at] + wrong + address[at + 1 :], MAIN.address_prefixes)


@given(st.binary(min_size=2, max_size=40), st.integers(0, 16), st.data())
def test_what_is_only_looked_up_is_the_same_script_or_none(program, version, data):
    prefixes = MAIN.address_prefixes
    script = bytes([version and 0x50 + version, len(program)]) + program
    address = script_address(script, prefixes)
    assert shown_address_script(address or "", prefixes) == (script if address else None)
    at = data.draw(st.integers(0, len(address or " ") - 1))
    new = data.draw(st.one_of(st.text(max_size=2), st.sampled_from("qpzry9x8-+_1 bB")))
    changed = f"{(address or '')[:at]}{new}{(address or '')[at + 1 :]}"
    assert shown_address_script(changed, prefixes) == (script if changed == address else None)


@given(st.text(max_size=100))
def test_any_text_is_looked_up(text):
    for address in (text, f"groat1{text}"):
        assert shown_address_script(address, MAIN.address_prefixes) is None


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "starts with bc1, not groat1"),
        ("groat1" + "q" * 90, "at most 90 characters"),
        ("groat", "addresses here start with groat1"),
        ("", "addresses here start with groat1"),
        ("gröat1qqqqqqqq", "not an address"),
        ("1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "version byte is 0, addresses here have 38 and 97"),
        ("3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy", "another network: its version byte is 5"),
        ("mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn", "another network: its version byte is 111"),
        ("1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN3", "checksum is wrong"),
        ("1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN", "checksum is wrong"),
        ("4" + "A" * 44, "not an address: addresses here start with groat1 or are in Base58"),
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
        address_script(address, MAIN.address_prefixes)
    assert "HRP" not in str(caught.value)


@pytest.mark.parametrize(
    "script",
    ["", "6a", "21" + "02" * 33 + "ac", "0015" + "00" * 21, "0014", "51", "76a914" + "00" * 20],
)
def test_other_scripts_have_no_address(script):
    assert script_address(bytes.fromhex(script), MAIN.address_prefixes) is None


# base58check


# Bitcoin Core: src/test/data/key_io_valid.json and its documentation
@pytest.mark.parametrize(
    ("address", "script"),
    [
        (
            "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn",
            "76a914243f1394f44554f4ce3fd68649c19adc483ce92488ac",
        ),
        ("2MzQwSSnBHWHqSAqtTVQ6v47XtaisrJa1Vc", "a9144e9f39ca4688ff102128ea4ccda34105324305b087"),
    ],
)
def test_known_base58_addresses(address, script):
    assert address_script(address, REGTEST.address_prefixes).hex() == script
    assert script_address(bytes.fromhex(script), REGTEST.address_prefixes) == address


@pytest.mark.parametrize(
    ("params", "first"),
    [(MAIN, ("G", "g")), (TEST, ("T", "t")), (DEVNET, ("T", "t")), (REGTEST, ("mn", "2"))],
)
@given(hashed=st.binary(min_size=20, max_size=20))
def test_a_base58_address_reads_back_and_starts_as_its_network_says(params, first, hashed):
    for script, start in zip((p2pkh_script(hashed), p2sh_script(hashed)), first, strict=True):
        address = script_address(script, params.address_prefixes)
        assert address[0] in start
        assert address_script(address, params.address_prefixes) == script
        assert foreign_address_scripts(address) == [p2pkh_script(hashed), p2sh_script(hashed)]
        for other in NETWORKS.values():
            if other.pubkey_address_prefix != params.pubkey_address_prefix:
                with pytest.raises(AddressError, match="address of another network"):
                    address_script(address, other.address_prefixes)


@given(st.binary(min_size=20, max_size=20))
def test_regtest_addresses_in_base58_are_bitcoins(hashed):
    for script in (p2pkh_script(hashed), p2sh_script(hashed)):
        address = script_address(script, REGTEST.address_prefixes)
        assert address_script(address, REGTEST.address_prefixes) == script
        kind = "p2pkh" if script[0] == 0x76 else "p2sh"
        assert b58.h160_from_address(address)[:2] == (kind, hashed)


@given(st.binary(min_size=20, max_size=20), st.data())
def test_one_wrong_base58_character_is_always_noticed(hashed, data):
    alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    address = script_address(p2sh_script(hashed), MAIN.address_prefixes)
    at = data.draw(st.integers(0, len(address) - 1))
    wrong = data.draw(st.sampled_from(alphabet).filter(lambda c: c != address[at]))
    with pytest.raises(AddressError):
        address_script(address[:at] + wrong + address[at + 1 :], MAIN.address_prefixes)


def test_vectors_of_bip173_and_bip350(vectors):
    rows = json.loads((vectors / "bech32" / "bip350.json").read_text())
    good = [row for row in rows["valid_address"] if row[0][:2].lower() in {"bc", "tb"}]
    for address, script in good:
        assert address_script(address, bitcoin(address.lower().partition("1")[0])).hex() == script
    for row in rows["invalid_address"]:
        address = row[0] if isinstance(row, list) else row
        for prefix in ("bc", "tb"):
            with pytest.raises(AddressError):
                address_script(address, bitcoin(prefix))
    assert len(good) >= 6
