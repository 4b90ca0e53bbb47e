"""The PSBT codec: strict, lossless, and of one mind with BIP174, embit and BDK."""

import base64

import bdkpython as bdk
import pytest
from embit import psbt as embit
from hypothesis import given
from hypothesis import strategies as st

from chain.primitives.encoding import with_size
from chain.primitives.key_origin import Origin
from chain.primitives.numbers import Amount, outpoint
from chain.primitives.psbt import (
    PSBT_BYTES_MAX,
    Input,
    Psbt,
    PsbtError,
    decode_psbt,
    origin_field,
    origins,
    parse_psbt,
    signatures,
    witness_items,
)
from chain.primitives.transaction import Transaction, TxIn, TxOut, encode_witness
from tests.builders import KEY, coinbase

# BIP174, "Test Vectors": what must not be taken for a PSBT, by what is wrong with it.
INVALID = {
    "it does not start as one": "AgAAAAEmgXE3Ht/yhek3re6ks3t4AAwFZsuzrWRkFxPKQhcb9gAAAABqRzBEAiBwsiRRI+a/R01gxbUMBD1MaRpdJDXwmjSnZiqdwlF5CgIgATKcqdrPKAvfMHQOwDkEIkIsgctFg5RXrrdvwS7dlbMBIQJlfRGNM1e44PTCzUbbezn22cONmnCry5st5dyNv+TOMf7///8C09/1BQAAAAAZdqkU0MWZA8W6woaHYOkP1SGkZlqnZSCIrADh9QUAAAAAF6kUNUXm4zuDLEcFDyTT7rk8nAOUi8eHsy4TAA==",  # noqa: E501
    "signed already": "cHNidP8BAP0KAQIAAAACqwlJoIxa98SbghL0F+LxWrP1wz3PFTghqBOfh3pbe+QAAAAAakcwRAIgR1lmF5fAGwNrJZKJSGhiGDR9iYZLcZ4ff89X0eURZYcCIFMJ6r9Wqk2Ikf/REf3xM286KdqGbX+EhtdVRs7tr5MZASEDXNxh/HupccC1AaZGoqg7ECy0OIEhfKaC3Ibi1z+ogpL+////qwlJoIxa98SbghL0F+LxWrP1wz3PFTghqBOfh3pbe+QBAAAAAP7///8CYDvqCwAAAAAZdqkUdopAu9dAy+gdmI5x3ipNXHE5ax2IrI4kAAAAAAAAGXapFG9GILVT+glechue4O/p+gOcykWXiKwAAAAAAAABASAA4fUFAAAAABepFDVF5uM7gyxHBQ8k0+65PJwDlIvHhwEEFgAUhdE1N/LiZUBaNNuvqePdoB+4IwgAAAA=",  # noqa: E501
    "field 0x00 has a wrong key": "cHNidP8CAAFVAgAAAAEnmiMjpd+1H8RfIg+liw/BPh4zQnkqhdfjbNYzO1y8OQAAAAAA/////wGgWuoLAAAAABl2qRT/6cAGEJfMO2NvLLBGD6T8Qn0rRYisAAAAAAABASCVXuoLAAAAABepFGNFIA9o0YnhrcDfHE0W6o8UwNvrhyICA7E0HMunaDtq9PEjjNbpfnFn1Wn6xH8eSNR1QYRDVb1GRjBDAiAEJLWO/6qmlOFVnqXJO7/UqJBkIkBVzfBwtncUaUQtBwIfXI6w/qZRbWC4rLM61k7eYOh4W/s6qUuZvfhhUduamgEBBCIAIHcf0YrUWWZt1J89Vk49vEL0yEd042CtoWgWqO1IjVaBAQVHUiEDsTQcy6doO2r08SOM1ul+cWfVafrEfx5I1HVBhENVvUYhA95V0eHayAXj+KWMH7+blMAvPbqv4Sf+/KSZXyb4IIO9Uq4iBgOxNBzLp2g7avTxI4zW6X5xZ9Vp+sR/HkjUdUGEQ1W9RhC0prpnAAAAgAAAAIAEAACAIgYD3lXR4drIBeP4pYwfv5uUwC89uq/hJ/78pJlfJvggg70QtKa6ZwAAAIAAAACABQAAgAAA",  # noqa: E501
}

PARENT = coinbase(7, 5000)
POINT = outpoint(PARENT.txid, 0)
UNSIGNED = Transaction(2, [TxIn(POINT, sequence=0xFFFFFFFD)], [TxOut(Amount(4000), KEY.script)], 99)
COIN = {bytes([Input.WITNESS_UTXO]): PARENT.outputs[0].encode()}

keys = st.integers(0x10, 0xFF).flatmap(
    lambda kind: st.binary(max_size=40).map(bytes([kind]).__add__)
)
maps = st.dictionaries(keys, st.binary(max_size=300), max_size=6)
paths = st.lists(st.integers(0, 2**32 - 1), max_size=10).map(tuple)


def psbt(inputs=COIN, outputs=None, whole=None, transaction=UNSIGNED):
    return Psbt(transaction, whole or {}, (inputs,), (outputs or {},))


# BIP174: a PSBT of one P2PKH input that ends too early; with its last output's map it is valid.
WITHOUT_OUTPUTS = (
    "cHNidP8BAHUCAAAAASaBcTce3/KF6Tet7qSze3gADAVmy7OtZGQXE8pCFxv2AAAAAAD+////AtPf9QUAAAAAGXapFNDF"
    "mQPFusKGh2DpD9UhpGZap2UgiKwA4fUFAAAAABepFDVF5uM7gyxHBQ8k0+65PJwDlIvHh7MuEwAAAQD9pQEBAAAAAAEC"
    "iaPHHqtNIOA3G7ukzGmPopXJRjr6Ljl/hTPMti+VZ+UBAAAAFxYAFL4Y0VKpsBIDna89p95PUzSe7LmF/////4b4qkOn"
    "Hf8USIk6UwpyN+9rRgi7st0tAXHmOuxqSJC0AQAAABcWABT+Pp7xp0XpdNkCxDVZQ6vLNL1TU/////8CAMLrCwAAAAAZ"
    "dqkUhc/xCX/Z4Ai7NK9wnGIZeziXikiIrHL++E4sAAAAF6kUM5cluiHv1irHU6m80GfWx6ajnQWHAkcwRAIgJxK+IuAn"
    "DzlPVoMR3HyppolwuAJf3TskAinwf4pfOiQCIAGLONfc0xTnNMkna9b7QPZzMlvEuqFEyADS8vAtsnZcASED0uFWdJQb"
    "rUqZY3LLh+GFbTZSYG2YVi/jnF6efkE/IQUCSDBFAiEA0SuFLYXc2WHS9fSrZgZU327tzHlMDDPOXMMJ/7X85Y0CIGcz"
    "io4OFyXBl/saiK9Z9R5E5CVbIBZ8hoQDHAXR8lkqASECI7cr7vCWXRC+B3jv7NYfysb3mk6haTkzgHNEZPhPKrMAAAAA"
    "AAA="
)


def test_bip174s_p2pkh_psbt_is_read_with_all_its_outputs_and_refused_without():
    raw = base64.b64decode(WITHOUT_OUTPUTS)
    with pytest.raises(PsbtError, match="truncated"):
        decode_psbt(raw)
    with pytest.raises(PsbtError, match="1 byte after"):
        decode_psbt(raw + b"\x00\x00")
    whole = decode_psbt(raw + b"\x00")
    assert whole.encode() == raw + b"\x00"
    assert whole.coin(0).value == 200_000_000
    assert embit.PSBT.parse(whole.encode()).fee() == whole.coin(0).value - sum(
        out.value for out in whole.transaction.outputs
    )


def without(key, fields):
    return {name: value for name, value in fields.items() if name[0] != key}


@pytest.mark.parametrize("reason", INVALID)
def test_what_bip174_calls_invalid_is_refused(reason):
    with pytest.raises(PsbtError, match=reason):
        parse_psbt(INVALID[reason])


@pytest.mark.parametrize("where", [0, 1, 2])
@pytest.mark.parametrize("value", [b"", b"first"])
def test_field_that_is_there_twice_is_refused(where, value):
    field = with_size(b"\xf0key") + with_size(value)
    maps = [with_size(b"\x00") + with_size(UNSIGNED.raw), b"", b""]
    maps[where] += field
    good = b"psbt\xff" + b"".join(each + b"\x00" for each in maps)
    assert decode_psbt(good).transaction == UNSIGNED
    maps[where] += with_size(b"\xf0key") + with_size(b"other")
    with pytest.raises(PsbtError, match="twice"):
        decode_psbt(b"psbt\xff" + b"".join(each + b"\x00" for each in maps))


@given(maps.map(lambda m: without(0xFB, m)), maps, maps)
def test_any_psbt_survives_its_bytes_and_its_text(whole, inputs, outputs):
    made = psbt(COIN | inputs, outputs, whole)
    assert decode_psbt(made.encode()) == made
    assert parse_psbt(made.text()) == made
    assert parse_psbt("\n".join(made.text()[at : at + 64] for at in range(0, 9999, 64))) == made


@given(st.binary(max_size=300))
def test_any_bytes_are_a_psbt_or_an_error_of_it(data):
    for raw in (data, b"psbt\xff" + data, psbt().encode()[:-3] + data):
        try:
            found = decode_psbt(raw)
        except PsbtError:
            continue
        assert decode_psbt(found.encode()) == found


@given(st.data())
def test_any_damage_is_an_error_or_another_psbt(data):
    raw = bytearray(full().encode())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    try:
        found = decode_psbt(bytes(raw))
    except PsbtError:
        return
    assert found != full()


def full():
    """A PSBT with a field of every kind that BIP174 has for an input of this wallet."""
    der = bytes.fromhex("3006020101020101") + b"\x01"
    fields = COIN | {
        bytes([Input.NON_WITNESS_UTXO]): PARENT.raw,
        bytes([Input.PARTIAL_SIG]) + KEY.public: der,
        bytes([Input.SIGHASH_TYPE]): b"\x01\x00\x00\x00",
    }
    fields |= [origin_field(Input.BIP32_DERIVATION, KEY.public, Origin(b"abcd", (1, 2**31)))]
    return psbt(fields)


@pytest.mark.parametrize("cut", [1, 2, 5, 20, 60])
def test_truncated_or_longer_psbt_is_refused(cut):
    raw = full().encode()
    for damaged in (raw[:-cut], raw + b"\x00" * cut, b""):
        with pytest.raises(PsbtError):
            decode_psbt(damaged)


def test_psbt_over_the_limit_is_refused_unread(monkeypatch):
    raw = full().encode()
    monkeypatch.setattr("chain.primitives.psbt.PSBT_BYTES_MAX", len(raw))
    assert decode_psbt(raw) == full()
    monkeypatch.setattr("chain.primitives.psbt.PSBT_BYTES_MAX", len(raw) - 1)
    with pytest.raises(PsbtError, match="at most"):
        decode_psbt(raw)
    assert PSBT_BYTES_MAX == 16 << 20


@pytest.mark.parametrize("text", ["", "x", "cHNidP8", "cHNidP8=ü", "psbt", "====", "\x00"])
def test_text_that_is_no_base64_is_refused(text):
    with pytest.raises(PsbtError):
        parse_psbt(text)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"\x00", PARENT.raw[:-1]),
        (b"\x00", coinbase(8, 5000).raw),
        (b"\x00\x00", PARENT.raw),
        (b"\x01", TxOut(Amount(21_000_000 * 10**8 + 1), KEY.script).encode()),
        (b"\x01", TxOut(Amount(-1), KEY.script).encode()),
        (b"\x01", b""),
        (b"\x01", PARENT.outputs[0].encode() + b"\x00"),
        (b"\x01x", PARENT.outputs[0].encode()),
        (b"\x02", b"\x30\x06\x02\x01\x01\x02\x01\x01\x01"),
        (b"\x02" + KEY.public[:-1], b"\x30\x06\x02\x01\x01\x02\x01\x01\x01"),
        (b"\x02\x05" + KEY.public[1:], b"\x30\x06\x02\x01\x01\x02\x01\x01\x01"),
        (b"\x02" + KEY.public, b""),
        (b"\x02" + KEY.public, b"\x01"),
        (b"\x03", b"\x01\x00\x00"),
        (b"\x03\x00", b"\x01\x00\x00\x00"),
        (b"\x04\x00", b""),
        (b"\x05\x00", b""),
        (b"\x06" + KEY.public, b"abc"),
        (b"\x06" + KEY.public, b"abcde"),
        (b"\x06", b"abcd"),
        (b"\x07\x00", b""),
        (b"\x08", b"\x00"),
        (b"\x08", b"\x01\x05a"),
        (b"\x08", b"\x01\x01ab"),
    ],
)
def test_input_field_of_a_wrong_shape_is_refused(key, value):
    with pytest.raises(PsbtError):
        decode_psbt(psbt({key: value}).encode())


@pytest.mark.parametrize(
    ("key", "value"),
    [(b"\x02" + KEY.public, b"abc"), (b"\x02x", b"abcd"), (b"\x00x", b""), (b"\x01x", b"")],
)
def test_output_field_of_a_wrong_shape_is_refused(key, value):
    with pytest.raises(PsbtError):
        decode_psbt(psbt(outputs={key: value}).encode())


@pytest.mark.parametrize(
    ("key", "value"),
    [(b"\xfb", b"\x02\x00\x00\x00"), (b"\xfbx", bytes(4)), (b"\x01" + bytes(77), b"abcd")],
)
def test_whole_of_another_version_or_shape_is_refused(key, value):
    with pytest.raises(PsbtError):
        decode_psbt(psbt(whole={key: value}).encode())
    assert decode_psbt(psbt(whole={b"\xfb": bytes(4)}).encode()).fields == {b"\xfb": bytes(4)}


def test_psbt_without_transaction_is_refused():
    with pytest.raises(PsbtError, match="no unsigned transaction"):
        decode_psbt(b"psbt\xff\x00\x00\x00")


@pytest.mark.parametrize("outputs", [0, 1, 2])
def test_psbt_of_a_transaction_without_inputs_survives_its_bytes(outputs):
    """BIP174 has such a test vector; its bytes look like those of a witness (BIP144)."""
    nothing = Transaction(2, [], [TxOut(Amount(1), KEY.script)] * outputs)
    made = Psbt(nothing, {}, (), ({},) * outputs)
    assert decode_psbt(made.encode()) == made


def test_coin_that_differs_from_the_previous_transaction_is_refused():
    proof = {bytes([Input.NON_WITNESS_UTXO]): PARENT.raw}
    other = {bytes([Input.WITNESS_UTXO]): TxOut(Amount(5001), KEY.script).encode()}
    assert decode_psbt(psbt(proof | COIN).encode()).proves_coin(0)
    with pytest.raises(PsbtError, match="two different coins"):
        decode_psbt(psbt(proof | other).encode())


def test_coin_that_the_previous_transaction_lacks_is_refused():
    beyond = Transaction(2, [TxIn(outpoint(PARENT.txid, 1))], UNSIGNED.outputs)
    fields = {bytes([Input.NON_WITNESS_UTXO]): PARENT.raw}
    with pytest.raises(PsbtError, match="does not exist"):
        decode_psbt(psbt(fields, transaction=beyond).encode())


def test_coin_is_told_by_either_field_and_proved_by_one():
    whole = psbt({bytes([Input.NON_WITNESS_UTXO]): PARENT.raw})
    assert whole.coin(0) == psbt().coin(0) == PARENT.outputs[0]
    assert (whole.proves_coin(0), psbt().proves_coin(0)) == (True, False)
    assert psbt({}).coin(0) is None


@given(st.binary(min_size=4, max_size=4), paths)
def test_origin_survives_its_field(fingerprint, path):
    origin = Origin(fingerprint, path)
    fields = dict([origin_field(Input.BIP32_DERIVATION, KEY.public, origin)])
    assert origins(fields, Input.BIP32_DERIVATION) == {KEY.public: origin}


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5).map(tuple))
def test_witness_survives_its_field(items):
    assert witness_items(encode_witness(items)) == items


def test_embit_and_bdk_read_ours_as_we_meant_it():
    ours = full()
    theirs = embit.PSBT.parse(ours.encode())
    assert theirs.tx.txid() == UNSIGNED.txid[::-1]
    assert theirs.inputs[0].witness_utxo.value == 5000
    ((key, origin),) = theirs.inputs[0].bip32_derivations.items()
    assert (key.sec(), origin.fingerprint, origin.derivation) == (KEY.public, b"abcd", [1, 2**31])
    assert decode_psbt(theirs.serialize()) == ours
    without_signature = psbt(without(Input.PARTIAL_SIG, ours.inputs[0]))
    text = bdk.Psbt(without_signature.text()).serialize()
    assert parse_psbt(text) == without_signature
    assert base64.b64decode(text) == without_signature.encode()


def test_signatures_are_found_by_key():
    assert list(signatures(full().inputs[0])) == [KEY.public]
