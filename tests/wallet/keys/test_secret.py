"""BIP39: words, their checksum, and the seed they give."""

import hashlib
import json
import unicodedata

import pytest
from mnemonic import Mnemonic

from tests.wallet.conftest import ABANDON
from wallet.errors import InputError
from wallet.keys.secret import Secret, check_words, new_words

LIST_SHA256 = "2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda"
TREZOR_XPRV = (
    "xprv9s21ZrQH143K3h3fDYiay8mocZ3afhfULfb5GX8kCBdno77K4HiA15Tg23wpbeF1pLfs1c5SPmYHrEpTuuRhxMwvKD"
    "wqdKiGJS9XFKzUsAF"
)


def test_known_root_of_known_words():
    assert Secret(ABANDON, "TREZOR").root().encode(test=False) == TREZOR_XPRV


def test_every_published_seed_in_every_language(vectors):
    table = json.loads((vectors / "bip39" / "trezor_vectors.json").read_text())
    rows = [row for language in table.values() for row in language]
    assert len(rows) == 12 * 24
    for _entropy, words, _seed, private in rows:
        assert Secret(words, "TREZOR").root().encode(test=False) == private


def test_published_english_words_pass(vectors):
    table = json.loads((vectors / "bip39" / "trezor_vectors.json").read_text())
    for _entropy, words, _seed, _private in table["english"]:
        assert check_words(words) == words


def test_passphrase_is_normalized(vectors):
    rows = json.loads((vectors / "bip39" / "bip39_japanese.json").read_text())
    assert len(rows) == 24
    for row in rows:
        for form in ("NFC", "NFD", "NFKC", "NFKD"):
            passphrase = unicodedata.normalize(form, row["passphrase"])
            found = Secret(row["mnemonic"], passphrase).root().encode(test=False)
            assert found == row["bip32_xprv"]


def test_word_list_is_the_one_of_bip39():
    text = "".join(f"{word}\n" for word in Mnemonic("english").wordlist)
    assert hashlib.sha256(text.encode()).hexdigest() == LIST_SHA256


@pytest.mark.parametrize("count", [12, 24])
def test_new_words_are_valid_and_new(count):
    words = new_words(count)
    assert len(words.split()) == count
    assert check_words(words) == words
    assert new_words(count) != words


@pytest.mark.parametrize("count", [0, 11, 13, 15, 25])
def test_new_wallet_has_12_or_24_words(count):
    with pytest.raises(InputError):
        new_words(count)


def test_case_and_spaces_do_not_matter():
    assert check_words("  " + ABANDON.upper().replace(" ", " \t ") + "\n") == ABANDON


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (ABANDON.replace("about", "abuot"), "word 12 is not"),
        ("zzzz " + ABANDON.split(" ", 1)[1], "word 1 is not"),
        (ABANDON.replace("about", "abandon"), "checksum"),
        ("about " + ABANDON.rsplit(" ", 1)[0], "checksum"),
        (ABANDON + " about", "13 words given"),
        ("", "0 words given"),
    ],
)
def test_wrong_words_are_refused_with_a_hint_and_not_repeated(words, hint):
    with pytest.raises(InputError) as caught:
        check_words(words)
    assert hint in str(caught.value)
    assert not {"abuot", "zzzz", "abandon", "about"} & set(str(caught.value).split())


def test_repr_shows_no_secret():
    secret = Secret(ABANDON, "hunter2")
    assert "abandon" not in repr(secret)
    assert "hunter2" not in repr(secret)
    assert "abandon" not in f"{secret}"
