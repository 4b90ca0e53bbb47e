"""Transactions as bytes, shown."""

from tests.primitives.test_transaction import BIP143_RAW


def test_a_transaction_is_shown_with_what_it_spends_and_pays(cli):
    shown = cli.json("decode", BIP143_RAW.hex())
    assert shown["txid"].startswith("e8151a2af31c368a")
    assert [output["amount"] for output in shown["outputs"]] == [112_340_000, 223_450_000]
    assert len(shown["inputs"]) == 2
    assert shown["inputs"][1]["coin"].startswith("8ac60eb9575db5b2")


def test_what_is_no_transaction_is_named(cli):
    assert "not hex" in cli.error("decode", "zz", code=2)
    assert "not hex" in cli.error("decode", "", code=2)
    assert "truncated" in cli.error("decode", BIP143_RAW[:-1].hex(), code=2)


def test_id_in_place_of_a_transaction_is_told_as_such(cli):
    error = cli.error("decode", "00" * 32, code=2)
    assert error == f"{'00' * 32} is the id of a transaction: give the transaction itself, in hex"
    assert "after the transaction" in cli.error("decode", "00" * 31, code=2)
