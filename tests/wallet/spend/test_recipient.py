"""Addresses as people type them: every single mistake is found, and most are pointed at."""

import contextlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.consensus.params import DEVNET, MAIN, NETWORKS, REGTEST
from chain.primitives.address import p2wpkh_address, script_address
from chain.primitives.script import p2pkh_script, p2sh_script, p2wpkh_script
from wallet.errors import InputError
from wallet.spend.foreign_address import foreign_chain
from wallet.spend.recipient import parse_address, parse_data, parse_recipients, payment_uri

GOOD = "bcrt1q6rz28mcfaxtmd6v789l9rrlrusdprr9pz3cppk"
CHARACTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


@given(st.binary(min_size=20, max_size=20), st.sampled_from(list(NETWORKS.values())))
def test_address_survives(key_hash, params):
    address = p2wpkh_address(key_hash, params.bech32_prefix)
    assert parse_address(address, params) == p2wpkh_script(key_hash)
    assert parse_address(address.upper(), params) == p2wpkh_script(key_hash)


@pytest.mark.parametrize("at", range(5, len(GOOD)))
def test_one_wrong_character_is_pointed_at(at):
    wrong = CHARACTERS[(CHARACTERS.index(GOOD[at]) + 7) % 32]
    mistyped = GOOD[:at] + wrong + GOOD[at + 1 :]
    with pytest.raises(InputError, match=rf"character {at + 1} is wrong"):
        parse_address(mistyped, REGTEST)


def test_hint_does_not_tell_the_right_character():
    with pytest.raises(InputError) as caught:
        parse_address(GOOD[:-1] + "q", REGTEST)
    assert GOOD not in str(caught.value)


@pytest.mark.parametrize(("character", "shown"), [("b", "'b'"), ("i", "'i'"), ("\x1b", "'?'")])
def test_impossible_character_is_pointed_at(character, shown):
    with pytest.raises(InputError, match="character 11 is ") as caught:
        parse_address(GOOD[:10] + character + GOOD[11:], REGTEST)
    assert shown in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "max",
        "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
        GOOD[:-1],
        GOOD + "q",
        GOOD[0].upper() + GOOD[1:],
        GOOD[:10] + GOOD[11] + GOOD[10] + GOOD[12:],
        GOOD[:6] + "qq" + GOOD[8:],
        "bcrt1" + "q" * 95,
        "é" * 10,
        "\x00",
    ],
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(InputError) as caught:
        parse_address(text, REGTEST)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", [f"{GOOD}\r", f" {GOOD}\n", f"\t{GOOD} "])
def test_blanks_around_what_was_copied_are_no_mistake(text):
    assert parse_address(text, REGTEST) == parse_address(GOOD, REGTEST)
    (paid,) = parse_recipients([text, "1.5\r\n"], REGTEST)
    assert (paid.address, paid.amount) == (GOOD, 150_000_000)
    (paid,) = parse_recipients([f"bitcoin:{GOOD}?amount=.5\r\n"], REGTEST)
    assert (paid.address, paid.amount) == (GOOD, 50_000_000)


@given(st.text(max_size=100))
def test_no_text_crashes(text):
    with pytest.raises(InputError):
        parse_address(text, REGTEST)


@pytest.mark.parametrize("other", [p for p in NETWORKS.values() if p is not MAIN])
def test_address_of_another_network_is_named(other):
    address = p2wpkh_address(bytes(20), other.bech32_prefix)
    with pytest.raises(InputError, match=f"of network {other.name}; this wallet is on main"):
        parse_address(address, MAIN)


def test_address_of_a_foreign_chain_is_refused():
    with pytest.raises(InputError):
        parse_address("bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu", MAIN)


@pytest.mark.parametrize(
    "script",
    [
        b"\x00\x20" + bytes(32),
        b"\x51\x20" + bytes(32),
        b"\x51\x02\x4e\x73",
        b"\x60\x02\x01\x02",
        p2pkh_script(bytes(20)),
        p2sh_script(bytes(20)),
    ],
)
def test_an_address_of_any_kind_can_be_paid(script):
    address = script_address(script, REGTEST.address_prefixes)
    assert parse_address(address, REGTEST) == script
    (paid,) = parse_recipients([f" {address}\n", "1"], REGTEST)
    assert (paid.address, paid.script) == (address, script)


BASE58 = script_address(p2sh_script(bytes(range(20))), REGTEST.address_prefixes)


@pytest.mark.parametrize("at", [0, 1, 17, len(BASE58) - 1])
def test_one_wrong_base58_character_is_pointed_at(at):
    wrong = "3" if BASE58[at] != "3" else "4"
    with pytest.raises(InputError, match=rf"character {at + 1} is wrong"):
        parse_address(BASE58[:at] + wrong + BASE58[at + 1 :], REGTEST)


@pytest.mark.parametrize("script", [p2pkh_script(bytes(20)), p2sh_script(bytes(20))])
def test_a_base58_address_of_another_network_is_named(script):
    for other, names in ((MAIN, "main"), (DEVNET, "test or devnet")):
        address = script_address(script, other.address_prefixes)
        with pytest.raises(InputError, match=f"of network {names}; this wallet is on regtest"):
            parse_address(address, REGTEST)


def test_pairs_of_recipients():
    one, rest = parse_recipients([GOOD, "1.5", GOOD.upper(), "max"], REGTEST)
    assert (one.address, one.amount) == (GOOD, 150_000_000)
    assert (rest.address, rest.amount) == (GOOD, None)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ([GOOD], "pairs"),
        ([GOOD, "1", GOOD], "pairs"),
        (["1", GOOD], "not an address"),
        ([GOOD, "max", GOOD, "max"], "only one"),
        ([GOOD, "MAX"], "not an amount"),
    ],
)
def test_wrong_recipients_are_refused(words, hint):
    with pytest.raises(InputError, match=hint):
        parse_recipients(words, REGTEST)


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("hi", "6a026869"),
        ("0x6869", "6a026869"),
        ("0xFF", "6a01ff"),
        ("é", "6a02c3a9"),
        ("x" * 75, "6a4b" + "78" * 75),
        ("x" * 80, "6a4c50" + "78" * 80),
    ],
)
def test_data_scripts(text, script):
    assert parse_data(text).hex() == script


@pytest.mark.parametrize("text", ["", "0x", "0x6", "0xzz", "x" * 81, "0x" + "00" * 81])
def test_wrong_data_is_refused(text):
    with pytest.raises(InputError, match="--data"):
        parse_data(text)


@pytest.mark.parametrize(
    ("amount", "label", "uri"),
    [
        (None, None, "groat:a"),
        (150_000_000, None, "groat:a?amount=1.5"),
        (100_000_000, None, "groat:a?amount=1"),
        (1, "tea & milk/é", "groat:a?amount=0.00000001&label=tea%20%26%20milk%2F%C3%A9"),
        (1_000_000_000, None, "groat:a?amount=10"),
    ],
)
def test_payment_request(amount, label, uri):
    assert payment_uri("a", DEVNET, amount, label) == uri
    assert payment_uri("a", REGTEST, amount, label) == uri.replace("groat:", "bitcoin:")


@pytest.mark.parametrize("network", NETWORKS)
def test_no_key_or_address_that_core_calls_invalid_is_paid_to(vectors, network):
    cases = json.loads((vectors / "core" / "key_io_invalid.json").read_text())
    assert len(cases) >= 70
    for (text,) in cases:
        with pytest.raises(InputError) as caught:
            parse_address(text, NETWORKS[network])
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "words",
    [
        [f"groat:{GOOD}?amount=1.5"],
        [f"BITCOIN:{GOOD.upper()}?amount=1.5&label=tea%20%0A&message=x&other=1"],
        [f"groat:{GOOD}", "1.5"],
        [f"groat:{GOOD}?label=tea", "1.5"],
        [f"bitcoin://{GOOD}?amount=1.5"],
        [f"groat://{GOOD}/?amount=1.5"],
        [f"bitcoin://{GOOD}", "1.5"],
    ],
)
def test_payment_request_can_be_paid(words):
    assert parse_recipients(words, REGTEST) == parse_recipients([GOOD, "1.5"], REGTEST)
    assert len(parse_recipients([*words, GOOD, "max"], REGTEST)) == 2


@pytest.mark.parametrize(
    ("uri", "hint"),
    [
        (f"groat:{GOOD}", f"no amount for {GOOD}: .*ADDRESS AMOUNT.*groat:ADDRESS.amount=1"),
        (f"bitcoin://{GOOD}", f"no amount for {GOOD}: .*ADDRESS AMOUNT"),
        (GOOD, f"no amount for {GOOD}: .*ADDRESS AMOUNT"),
        ("bitcoin://?amount=1", "names no address"),
        (
            "bitcoin:1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2?amount=1",
            "a Bitcoin address; this wallet is on regtest",
        ),
        (f"groat:{GOOD}?amount=", "not an amount"),
        (f"groat:{GOOD}?amount=1&amount=2", "two amounts"),
        (f"groat:{GOOD}?amount=max", "no amount"),
        (f"groat:{GOOD}?amount=1&req-pay=x%1b", "requires 'req-pay'"),
        (f"groat:{GOOD}?amount=1&req-%1b[31m=x", "requires 'req-\\?\\[31m'"),
        (f"litecoin:{GOOD}?amount=1", "not a payment request"),
        ("groat:?amount=1", "names no address"),
        (f"bitcoin:?{GOOD}", "names no address"),
        (
            "groat:bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4?amount=1",
            "a Bitcoin address; this wallet is on",
        ),
        (f"groat:{GOOD}?amount=1&label=" + "x" * 2000, "not a payment request"),
    ],
)
def test_strange_payment_request_is_refused(uri, hint):
    with pytest.raises(InputError, match=hint):
        parse_recipients([uri], REGTEST)


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_payment_request_crashes(start, end):
    with contextlib.suppress(InputError):
        parse_recipients([f"{start}groat:{end}"], REGTEST)
    with contextlib.suppress(InputError):
        parse_recipients([f"groat:{GOOD}?{start}amount=1{end}"], REGTEST)


@pytest.mark.parametrize(
    ("address", "chain"),
    [
        ("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "a Bitcoin"),
        ("BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4", "a Bitcoin"),
        ("bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr", "a Bitcoin"),
        ("tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx", "a Bitcoin testnet"),
        ("1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "a Bitcoin"),
        ("3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy", "a Bitcoin"),
        ("ltc1qw508d6qejxtdg4y5r3zarvary0c5xw7kgmn4n9", "a Litecoin"),
        ("DH5yaieqoZN36fDVciNyRueRGvGLR3mr7L", "a Dogecoin"),
        ("0x52908400098527886E0F7030069857D2E4169EE7", "an Ethereum"),
        ("4" + "A" * 94, "a Monero"),
    ],
)
@pytest.mark.parametrize("params", [REGTEST, MAIN], ids=lambda params: params.name)
def test_an_address_of_another_chain_is_named(address, chain, params):
    with pytest.raises(InputError) as caught:
        parse_address(address, params)
    shown = address if len(address) <= 90 else f"{address[:90]}..."
    assert str(caught.value) == f"{shown!r}: {chain} address; this wallet is on {params.name}"


@pytest.mark.parametrize(
    "text", ["hello", "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN3", "xyz1" + "q" * 30, "1" * 5000, "é"]
)
def test_what_is_no_address_of_a_known_chain_is_not_called_one(text):
    with pytest.raises(InputError) as caught:
        parse_address(text, REGTEST)
    assert "this wallet is on" not in str(caught.value)


@pytest.mark.parametrize("params", [REGTEST, replace(REGTEST, name="own", bech32_prefix="ltc")])
def test_a_mistyped_address_of_this_network_is_not_called_another_chains(params):
    good = p2wpkh_address(bytes(20), params.bech32_prefix)
    with pytest.raises(InputError) as caught:
        parse_address(good[:-2] + "qq", params)
    assert "this wallet is on" not in str(caught.value)


@given(st.text(max_size=200))
def test_no_text_confuses_the_names_of_chains(text):
    assert foreign_chain(text) is None or len(text) <= 120
