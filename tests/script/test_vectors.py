"""Public vectors: every row, none left out, each with the verdict and the error that it names."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from chain.consensus.errors import InvalidError
from chain.consensus.params import REGTEST
from chain.consensus.transaction import check_transaction
from chain.primitives.numbers import Amount, Hash32, outpoint
from chain.primitives.signature import verify_schnorr
from chain.primitives.transaction import TxOut, decode_transaction
from chain.script.flags import STANDARD, VerifyFlags
from chain.script.hashes import InputHashes, TransactionHashes
from chain.script.taproot import branch_hash, committed_leaf, leaf_hash, tweak
from tests.script.chosen_vectors import chosen
from tests.script.core_format import (
    ALL_FLAGS,
    dumped_spend,
    filled,
    outcome,
    parse_flags,
    parse_script,
    script_test,
    shown,
    trimmed,
    tweaked_key,
)


def rows(folder: Path, name: str) -> list[list]:
    """Return the rows of one of Core's files but for its comments."""
    return [row for row in json.loads((folder / name).read_text()) if len(row) > 1]


# script_tests


def check_script_tests(found: list[list]) -> int:
    for row in found:
        hashes, flags = script_test(row)
        expected = row[4] if isinstance(row[0], list) else row[3]
        assert outcome(hashes, 0, flags) == expected, row
    return len(found)


def test_script_tests_end_as_they_say(script_vectors):
    assert check_script_tests(rows(script_vectors, "script_tests.json")) == 1258


# tx_valid and tx_invalid


def transaction_test(row: list) -> tuple[TransactionHashes, VerifyFlags]:
    prevouts, raw, flags = row
    coins = {}
    for txid, index, script, *amount in prevouts:
        point = outpoint(Hash32(bytes.fromhex(txid)[::-1]), index % (1 << 32))
        coins[point] = TxOut(Amount(amount[0] if amount else 0), parse_script(script))
    tx = decode_transaction(bytes.fromhex(raw))
    hashes = TransactionHashes(tx, [coins[txin.outpoint] for txin in tx.inputs])
    return hashes, parse_flags(flags)


def passes(hashes: TransactionHashes, flags: VerifyFlags) -> bool:
    return all(outcome(hashes, at, flags) == "OK" for at in range(len(hashes.coins)))


def test_valid_transactions_pass_under_all_flags_but_those_they_name(script_vectors):
    """Also without any one flag more, and no longer with any one that they leave out."""
    seen = 0
    for row in rows(script_vectors, "tx_valid.json"):
        hashes, left_out = transaction_test(row)
        check_transaction(hashes.transaction, REGTEST)
        assert passes(hashes, ALL_FLAGS & ~left_out), row
        for flag in VerifyFlags:
            less = left_out | flag
            assert passes(hashes, trimmed(ALL_FLAGS & ~less)), (row, flag)
            if flag & left_out:
                assert not passes(hashes, filled(ALL_FLAGS & ~left_out | flag)), (row, flag)
        seen += 1
    assert seen == 122


def test_invalid_transactions_fail_under_the_flags_that_they_name(script_vectors):
    """Also under any one more, and no longer without any one of them."""
    seen = bad = 0
    for row in rows(script_vectors, "tx_invalid.json"):
        seen += 1
        if row[2] == "BADTX":
            with pytest.raises(InvalidError):
                check_transaction(decode_transaction(bytes.fromhex(row[1])), REGTEST)
            bad += 1
            continue
        hashes, flags = transaction_test(row)
        flags = filled(flags)
        for flag in VerifyFlags:
            assert not passes(hashes, filled(flags | flag)), (row, flag)
            if flag & flags:
                assert passes(hashes, trimmed(flags & ~flag)), (row, flag)
    assert (seen, bad) == (93, 9)


# signature hashes and keys


def check_legacy_hashes(found: list[list]) -> int:
    for raw, script, index, hash_type, expected in found:
        tx = decode_transaction(bytes.fromhex(raw))
        hashes = TransactionHashes(tx, [TxOut(Amount(0), b"")] * len(tx.inputs))
        digest = InputHashes(hashes, index).legacy(bytes.fromhex(script), hash_type)
        assert digest[::-1].hex() == expected
    return len(found)


def test_legacy_signature_hashes(script_vectors):
    assert check_legacy_hashes(rows(script_vectors, "sighash.json")) == 500


def test_bip340_signatures(script_vectors):
    with (script_vectors / "bip340_test_vectors.csv").open() as file:
        cases = list(csv.DictReader(file))
    for case in cases:
        key, signature, message = (
            bytes.fromhex(case[name]) for name in ("public key", "signature", "message")
        )
        assert verify_schnorr(key, signature, message) is (case["verification result"] == "TRUE")
    assert len(cases) == 19


def leaves(tree) -> Iterator[dict]:
    if isinstance(tree, dict):
        yield tree
    for branch in tree if isinstance(tree, list) else []:
        yield from leaves(branch)


def root_of(tree) -> bytes:
    if tree is None:
        return b""
    if isinstance(tree, dict):
        return leaf_hash(tree["leafVersion"], bytes.fromhex(tree["script"]))
    return branch_hash(root_of(tree[0]), root_of(tree[1]))


def test_bip341_outputs_commit_to_their_scripts(script_vectors):
    cases = json.loads((script_vectors / "bip341_wallet_vectors.json").read_text())["scriptPubKey"]
    blocks = 0
    for case in cases:
        given, between, expected = case["given"], case["intermediary"], case["expected"]
        key, root = bytes.fromhex(given["internalPubkey"]), root_of(given["scriptTree"])
        assert root.hex() == (between["merkleRoot"] or "")
        assert tweak(key, root).hex() == between["tweak"]
        program, _ = tweaked_key(key, root)
        assert program.hex() == between["tweakedPubkey"] == expected["scriptPubKey"][4:]
        controls = expected.get("scriptPathControlBlocks", [])
        for leaf, control in zip(leaves(given["scriptTree"]), controls, strict=True):
            hashed = committed_leaf(program, bytes.fromhex(leaf["script"]), bytes.fromhex(control))
            assert hashed.hex() in between.get("leafHashes", [between.get("leafHash")])
            blocks += 1
    assert (len(cases), blocks) == (7, 12)


def test_bip341_key_path_spends(script_vectors):
    text = (script_vectors / "bip341_wallet_vectors.json").read_text()
    (case,) = json.loads(text)["keyPathSpending"]
    given, between = case["given"], case["intermediary"]
    tx = decode_transaction(bytes.fromhex(given["rawUnsignedTx"]))
    coins = [
        TxOut(Amount(coin["amountSats"]), bytes.fromhex(coin["scriptPubKey"]))
        for coin in given["utxosSpent"]
    ]
    hashes = TransactionHashes(tx, coins)
    assert hashes.sha_amounts().hex() == between["hashAmounts"]
    assert hashes.sha_scripts().hex() == between["hashScriptPubkeys"]
    assert hashes.sha_outputs().hex() == between["hashOutputs"]
    assert hashes.sha_prevouts().hex() == between["hashPrevouts"]
    assert hashes.sha_sequences().hex() == between["hashSequences"]
    for spent in case["inputSpending"]:
        index, hash_type = spent["given"]["txinIndex"], spent["given"]["hashType"]
        digest = InputHashes(hashes, index).taproot(hash_type, None)
        assert digest.hex() == spent["intermediary"]["sigHash"]
        witness = [bytes.fromhex(item) for item in spent["expected"]["witness"]]
        signed = TransactionHashes(shown(tx, index, b"", witness), coins)
        assert outcome(signed, index, STANDARD) == "OK"
    assert len(case["inputSpending"]) == 7


# whole spends with many coins


def flag_sets() -> list[VerifyFlags]:
    """Return the sets of consensus flags that make sense: each fork needs the one before."""
    forks = [VerifyFlags(0)]
    for flag in (VerifyFlags.P2SH, VerifyFlags.WITNESS, VerifyFlags.TAPROOT):
        forks.append(forks[-1] | flag)
    names = ("DERSIG", "NULLDUMMY", "CHECKLOCKTIMEVERIFY", "CHECKSEQUENCEVERIFY")
    found = forks
    for name in names:
        found = found + [flags | VerifyFlags[name] for flags in found]
    return found


def check_rows(found: list[dict], sets: list[VerifyFlags]) -> int:
    """Check rows of feature_taproot's dump, and return how many cases they are."""
    cases = 0
    for row in found:
        flags, index = parse_flags(row["flags"]), row["index"]
        hashes = dumped_spend(row, "success")
        for some in sets:
            if row.get("final") or some & flags == some:
                assert outcome(hashes, index, some) == "OK", (row["comment"], some)
        if row.get("final"):
            assert outcome(hashes, index, STANDARD) == "OK", row["comment"]
        cases += 1
        if "failure" in row:
            hashes = dumped_spend(row, "failure")
            for some in sets:
                if some & flags == flags:
                    assert outcome(hashes, index, some) != "OK", (row["comment"], some)
            cases += 1
    return cases


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "counts"),
    [("script_assets_test", (2244, 3737, 558)), ("btcd_taproot_ref", (2760, 5243, 708))],
)
def test_dumped_spends_pass_and_fail_under_all_their_flags(name, counts, script_vectors):
    found = [
        row
        for part in (1, 2, 3)
        for row in json.loads((script_vectors / f"{name}_{part}.json").read_text())
    ]
    rows_expected, cases_expected, finals = counts
    assert len(found) == rows_expected
    assert check_rows(found, flag_sets()) == cases_expected
    assert finals == sum(bool(row.get("final")) for row in found)


# the choice that is always here


def test_chosen_script_tests_end_as_they_say():
    assert check_script_tests(chosen()["script_tests"]) == 50


def test_chosen_legacy_signature_hashes():
    assert check_legacy_hashes(chosen()["sighash"]) == 12


def test_chosen_spends_pass_and_fail_under_all_their_flags():
    assert check_rows(chosen()["dumped"], flag_sets()) == 42
