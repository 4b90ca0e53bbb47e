"""Long scripts: a signature check does not look at each of their operations in Python."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.primitives import script as module
from chain.primitives.encoding import compact_size
from chain.primitives.numbers import Amount, Hash32, outpoint
from chain.primitives.script import push, read_operation, skip_operations
from chain.primitives.sighash import SIGHASH_ALL
from chain.primitives.transaction import Transaction, TxIn, TxOut
from chain.script import spend
from chain.script.checksig import without_signature
from chain.script.errors import ScriptError, ScriptVerifyError
from chain.script.hashes import InputHashes, TransactionHashes, without_separators
from chain.script.opcodes import SUCCESS

SEPARATOR = 0xAB

codes = st.sampled_from([0x00, 0x01, 0x02, 0x4B, 0x4C, 0x4D, 0x4E, 0x4F, 0x51, SEPARATOR, 0xAC])
pieces = st.one_of(
    st.lists(codes, max_size=8).map(bytes),
    st.binary(max_size=6).map(push),
    st.sampled_from([0, 1, 75, 76, 255, 256, 300]).map(lambda size: push(bytes(size))),
    st.sampled_from(
        [b"\x4c\x00", b"\x4d\x00\x00", b"\x4e" + bytes(4), b"\x4e\x01\x00\x00\x00\xab"]
    ),
)
scripts = st.lists(pieces, max_size=12).map(b"".join)


def plain_end(script, at, end, stops):
    while at < end:
        operation = read_operation(script, at)
        if operation is None or operation[2] > end:
            return at
        if operation[0] in stops:
            return at
        at = operation[2]
    return at


def plain_without_signature(code, signature):
    """Bitcoin's FindAndDelete, an operation at a time."""
    pattern, kept, at = push(signature), [], 0
    while at < len(code):
        if code.startswith(pattern, at):
            at += len(pattern)
            continue
        operation = read_operation(code, at)
        if operation is None:
            break
        kept.append(code[at : operation[2]])
        at = operation[2]
    return b"".join(kept) + code[at:]


def plain_without_separators(code):
    """Bitcoin's SerializeScriptCode, an operation at a time."""
    kept, at, separators = [], 0, 0
    while at < len(code):
        operation = read_operation(code, at)
        if operation is None:
            width = {0x4C: 1, 0x4D: 2, 0x4E: 4}.get(code[at], 0)
            kept.append(code[at : at + 1 + (width if at + 1 + width <= len(code) else 0)])
            break
        if operation[0] == SEPARATOR:
            separators += 1
        else:
            kept.append(code[at : operation[2]])
        at = operation[2]
    return compact_size(len(code) - separators) + b"".join(kept)


@settings(max_examples=400)
@given(scripts, st.integers(0, 40), st.sampled_from([b"", b"\xab", b"\x50\xab\xbb\xfe"]))
def test_operations_are_skipped_as_if_one_by_one(script, cut, stops):
    end = max(len(script) - cut, 0)
    assert skip_operations(script, 0, end, stops) == plain_end(script, 0, end, stops)


def plain_has_success(script):
    at = 0
    while at < len(script):
        operation = read_operation(script, at)
        if operation is None:
            return ScriptError.BAD_OPCODE
        if operation[0] in SUCCESS:
            return True
        at = operation[2]
    return False


@settings(max_examples=400)
@given(
    scripts, st.integers(0, 3), st.sampled_from([b"", b"\x50", b"\xbb", b"\xfe", b"\xff"]), scripts
)
def test_op_success_is_found_as_if_one_by_one(before, cut, success, after):
    script = before[: max(len(before) - cut, 0)] + success + after
    right = plain_has_success(script)
    for at_once in (1, 7, 100_000):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(spend, "_SKIPPED_BYTES_MAX", at_once)
            if right is ScriptError.BAD_OPCODE:
                with pytest.raises(ScriptVerifyError) as caught:
                    spend._has_success(script)
                assert caught.value.error is right
            else:
                assert spend._has_success(script) is right


@settings(max_examples=400)
@given(scripts, st.integers(0, 3))
def test_separators_are_left_out_as_if_one_by_one(script, cut):
    code = script[: max(len(script) - cut, 0)]
    assert without_separators(code) == plain_without_separators(code)


@settings(max_examples=400)
@given(scripts, st.sampled_from([b"", b"\x00", b"\x01", bytes(75), bytes(255), b"\xab"]))
def test_signatures_are_deleted_as_if_one_by_one(code, signature):
    assert without_signature(code, signature) == plain_without_signature(code, signature)


@pytest.mark.parametrize(
    "code",
    [b"\x00" * 10_000, b"\x01\x07" * 5_000, b"\x4c\x00" * 5_000, b"\x4d\x00\x00" * 3_333],
    ids=["OP_0", "one byte", "PUSHDATA1", "PUSHDATA2"],
)
def test_a_signature_check_reads_no_operation_of_a_long_script_singly(code, monkeypatch):
    read = []

    def counted(script, at):
        read.append(at)
        return read_operation(script, at)

    signature = bytes(range(9))
    monkeypatch.setattr(module, "read_operation", counted)
    monkeypatch.setattr("chain.script.checksig.read_operation", counted)
    assert without_separators(code + b"\xab") == compact_size(len(code)) + code
    assert without_signature(code + push(signature), signature) == code
    assert len(read) <= 2


def test_a_large_transaction_is_not_put_together_for_each_of_its_legacy_hashes(monkeypatch):
    outputs = [TxOut(Amount(0), b"\x6a" + bytes(1_000))] * 50
    inputs = [TxIn(outpoint(Hash32(bytes(32)), at)) for at in range(20)]
    hashes = TransactionHashes(Transaction(2, inputs, outputs), [outputs[0]] * len(inputs))
    joined = []
    plain = Transaction.outputs_raw.fget
    monkeypatch.setattr(
        Transaction, "outputs_raw", property(lambda tx: joined.append(1) or plain(tx))
    )
    digests = {
        InputHashes(hashes, at).legacy(code, SIGHASH_ALL)
        for at in range(len(inputs))
        for code in (b"\x51", b"\x52", b"\x53")
    }
    assert len(digests) == 60
    assert len(joined) == 1
    assert hashes.blank_inputs(with_sequences=True) is hashes.blank_inputs(with_sequences=True)
