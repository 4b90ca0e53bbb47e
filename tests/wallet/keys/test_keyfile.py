"""The key file: opens with its password and with nothing else, and shows any damage."""

import hashlib
import json
import resource

import pytest

from tests.wallet.conftest import ABANDON, CHEAP, COST, LEGAL
from wallet.errors import FileError
from wallet.keys.keyfile import DAMAGED, UNREADABLE, Cost, KeyFile, decode_key_file, seal
from wallet.keys.secret import Secret

SECRET = Secret(ABANDON, "päss")


def sealed(password="correct horse", secret=SECRET, network="regtest", cost=CHEAP):
    return seal(secret, password, network=network, account="tpub-of-this", cost=cost)


def with_checksum(table):
    """Return a file of `table` whose checksum is right, as only an attacker would write it."""
    body = {name: value for name, value in table.items() if name != "sha256"}
    text = json.dumps(body, separators=(",", ":")).encode()
    body["sha256"] = hashlib.sha256(text).hexdigest()
    return json.dumps(body, separators=(",", ":")).encode() + b"\n"


@pytest.mark.parametrize("password", ["correct horse", None])
def test_secret_survives_the_file(password):
    raw = sealed(password).encode()
    read = decode_key_file(raw, "regtest")
    assert read.open(password or "") == SECRET
    assert read.needs_password == (password is not None)
    assert read.encode() == raw


def test_default_cost_is_what_guards_a_real_wallet():
    assert Cost().log2_n >= 17
    assert Cost() == COST
    raw = sealed(cost=Cost()).encode()
    assert json.loads(raw)["kdf"]["log2_n"] == Cost().log2_n
    assert decode_key_file(raw, "regtest").open("correct horse") == SECRET


@pytest.mark.parametrize("password", ["", "Correct horse", "correct horse "])
def test_wrong_password_has_one_message(password):
    with pytest.raises(FileError, match=UNREADABLE):
        sealed().open(password)


@pytest.mark.parametrize("password", ["correct horse", None])
@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80])
def test_every_flipped_byte_is_told_as_damage(password, mask):
    raw = sealed(password).encode()
    for at in range(len(raw)):
        damaged = raw[:at] + bytes([raw[at] ^ mask]) + raw[at + 1 :]
        with pytest.raises(FileError, match=DAMAGED):
            decode_key_file(damaged, "regtest")


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_truncated_or_longer_file_is_damaged(cut):
    raw = sealed().encode()
    for damaged in (raw[:-cut], raw + b"\n" * cut, raw[cut:], b""):
        with pytest.raises(FileError, match=DAMAGED):
            decode_key_file(damaged, "regtest")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("account", "tpub-of-the-attacker"),
        ("nonce", "00" * 12),
        ("sealed", "00" * 100),
        ("kdf", {"name": "scrypt", "log2_n": 5, "r": 8, "p": 1, "salt": "00" * 16}),
    ],
)
def test_exchanged_field_with_right_checksum_does_not_open(name, value):
    raw = with_checksum(json.loads(sealed().encode()) | {name: value})
    read = decode_key_file(raw, "regtest")
    with pytest.raises(FileError, match=UNREADABLE):
        read.open("correct horse")


def test_network_is_authenticated():
    raw = with_checksum(json.loads(sealed().encode()) | {"network": "main"})
    with pytest.raises(FileError, match=UNREADABLE):
        decode_key_file(raw, "main").open("correct horse")


def test_wallet_of_another_network_is_refused():
    with pytest.raises(FileError, match="of network regtest, not main"):
        decode_key_file(sealed().encode(), "main")


@pytest.mark.parametrize(("log2_n", "parallel"), [(21, 1), (1 << 40, 1), (0, 1), (17, 5), (17, 0)])
def test_file_that_asks_for_too_much_memory_is_refused_unread(log2_n, parallel):
    kdf = {"name": "scrypt", "log2_n": log2_n, "r": 8, "p": parallel, "salt": "00" * 16}
    raw = with_checksum(json.loads(sealed().encode()) | {"kdf": kdf})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(FileError, match="more memory or work"):
        decode_key_file(raw, "regtest")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


def test_largest_allowed_cost_is_read():
    kdf = {"name": "scrypt", "log2_n": 20, "r": 8, "p": 4, "salt": "00" * 16}
    raw = with_checksum(json.loads(sealed().encode()) | {"kdf": kdf})
    assert decode_key_file(raw, "regtest").cost == Cost(20, 4)


def test_block_factor_cannot_be_chosen():
    table = json.loads(sealed().encode())
    raw = with_checksum(table | {"kdf": table["kdf"] | {"r": 1 << 20}})
    with pytest.raises(FileError, match=DAMAGED):
        decode_key_file(raw, "regtest")


@pytest.mark.parametrize("field", ["salt", "nonce"])
def test_wrong_length_is_damage(field):
    table = json.loads(sealed().encode())
    change = {"nonce": "00"} if field == "nonce" else {"kdf": table["kdf"] | {"salt": "00"}}
    with pytest.raises(FileError, match=DAMAGED):
        decode_key_file(with_checksum(table | change), "regtest")


def test_format_of_a_later_groat_is_told():
    raw = with_checksum(json.loads(sealed().encode()) | {"version": 2})
    with pytest.raises(FileError, match="format 2, from a later groat"):
        decode_key_file(raw, "regtest")


@pytest.mark.parametrize(
    "raw", [b"[]", b"null", b"1", b'{"version":1}', b"\xff\xfe", b"[" * 100_000, b'{"kdf":[]}']
)
def test_other_content_is_damage(raw):
    with pytest.raises(FileError, match=DAMAGED):
        decode_key_file(raw, "regtest")


STRANGE = ["1e999", "-1e999", "NaN", "1.5", "true", "null", '"5"', "[]", "{}", "9" * 5000, "-1"]


@pytest.mark.parametrize("value", STRANGE, ids=lambda value: value[:9])
@pytest.mark.parametrize("name", ["log2_n", "p", "r", "salt", "version", "nonce", "account"])
def test_strange_value_in_any_place_is_damage(name, value):
    raw = sealed().encode().decode()
    table = json.loads(raw)
    old = json.dumps({name: (table | table["kdf"])[name]})[1:-1]
    assert raw.count(old.replace(": ", ":")) == 1
    damaged = raw.replace(old.replace(": ", ":"), f'"{name}":{value}')
    with pytest.raises(FileError, match=DAMAGED):
        decode_key_file(damaged.encode(), "regtest")


def test_two_files_of_one_wallet_share_no_secret_bytes():
    one, two = sealed(), sealed()
    assert one.salt != two.salt
    assert one.nonce != two.nonce
    pieces = [{key_file.sealed[at : at + 8] for at in range(0, 64, 8)} for key_file in (one, two)]
    assert not pieces[0] & pieces[1]


def test_sealed_file_holds_neither_words_nor_password():
    raw = sealed(secret=Secret(LEGAL)).encode()
    for text in ("legal", "winner", "correct horse"):
        assert text.encode() not in raw
        assert text.encode().hex().encode() not in raw


@pytest.mark.parametrize(
    ("network", "allowed"), [("main", False), ("test", False), ("devnet", True), ("regtest", True)]
)
def test_clear_text_is_for_devnet_and_regtest(network, allowed):
    written = KeyFile(network, "xpub", None, b"", b"", b"words\n").encode()
    if allowed:
        assert not sealed(None, network=network).needs_password
        assert decode_key_file(written, network).open("").words == "words"
    else:
        with pytest.raises(FileError, match="devnet and regtest only"):
            sealed(None, network=network)
        with pytest.raises(FileError, match="devnet and regtest only"):
            decode_key_file(written, network)


def test_repr_shows_no_secret():
    assert "abandon" not in repr(sealed(None))
    assert ABANDON.encode().hex() not in repr(sealed(None))
