"""Signatures verified many at a time: what single calls say, wherever the first bad one is."""

import hashlib
import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.primitives import signature_batch as module
from chain.primitives.hashes import sha256d
from chain.primitives.sighash import PREIMAGE_BYTES
from chain.primitives.signature import is_strict_der, sign, verify
from chain.primitives.signature_batch import (
    ECDSA,
    ECDSA_OF_PREIMAGE,
    SCHNORR,
    BatchError,
    CompiledLoop,
    batch,
    first_refused_singly,
    pack,
)
from tests.builders import Key
from tests.primitives.test_signature import high_s

KEYS = [Key(number) for number in range(1, 5)]


def triple(number):
    key = KEYS[number % len(KEYS)]
    digest = hashlib.sha256(b"%d" % number).digest()
    return key.public, sign(key.private, digest), digest, ECDSA


def of_preimage(number):
    key, message = KEYS[number % len(KEYS)], bytes([number]) * PREIMAGE_BYTES
    return key.public, sign(key.private, sha256d(message)), message, ECDSA_OF_PREIMAGE


def schnorr(number):
    ssa = pytest.importorskip("btclib_secp256k1.ssa")
    key, digest = KEYS[number % len(KEYS)], hashlib.sha256(b"%d" % number).digest()
    return key.public[1:], ssa.sign(digest, key.private, bytes(32)), digest, SCHNORR


def changed(record):
    """Return the record with another message."""
    return *record[:2], bytes(len(record[2])), record[3]


GOOD = [triple(number) for number in range(40)]
MIXED = [(triple, schnorr, of_preimage)[number % 3](number) for number in range(1, 41)]


@pytest.fixture(scope="module")
def loop():
    try:
        return CompiledLoop()
    except BatchError as error:
        pytest.skip(str(error))


def both(loop, triples):
    """Verify either way; they must agree."""
    answer = loop.first_refused(pack(triples))
    assert first_refused_singly(triples) == answer
    return answer


@pytest.mark.parametrize("count", [0, 1, 2, 40])
def test_good_ones_pass_in_any_number(loop, count):
    assert both(loop, GOOD[:count]) is None
    assert batch(GOOD[:count])() is None


@given(st.sets(st.integers(0, 39), min_size=1))
def test_the_first_bad_one_is_told(loop, bad):
    triples = [changed(GOOD[at]) if at in bad else GOOD[at] for at in range(40)]
    assert both(loop, triples) == min(bad)
    assert batch(triples)() == min(bad)


def test_every_wycheproof_case_has_the_verdict_of_a_single_call(loop, vectors):
    path = vectors / "wycheproof" / "ecdsa_secp256k1_sha256_test.json"
    cases = [
        (
            bytes.fromhex(group["publicKey"]["uncompressed"]),
            bytes.fromhex(case["sig"]),
            hashlib.sha256(bytes.fromhex(case["msg"])).digest(),
            case["result"] == "valid",
        )
        for group in json.loads(path.read_text())["testGroups"]
        for case in group["tests"]
    ]
    for *case, valid in cases:
        assert (loop.first_refused(pack([(*case, ECDSA)])) is None) == valid
    accepted = [(*case, ECDSA) for *case, valid in cases if valid]
    assert len(accepted) > 100
    assert both(loop, accepted) is None


@given(st.binary(max_size=80), st.binary(max_size=80), st.binary(min_size=32, max_size=32))
def test_garbage_is_refused(loop, key, signature, digest):
    assert both(loop, [GOOD[0], (key, signature, digest, ECDSA)]) == 1
    assert both(loop, [(KEYS[0].public, signature, digest, ECDSA)]) == 0


@given(st.sets(st.integers(0, 39)))
def test_all_kinds_stand_in_one_batch(loop, bad):
    records = [changed(MIXED[at]) if at in bad else MIXED[at] for at in range(40)]
    assert both(loop, records) == min(bad, default=None)
    assert batch(records)() == min(bad, default=None)


def test_a_signature_of_the_other_kind_is_refused(loop):
    for record in MIXED[:3:2]:
        assert both(loop, [(*record[:3], {ECDSA: SCHNORR, SCHNORR: ECDSA}[record[3]])]) == 0


@given(st.data())
def test_mutated_triples_have_the_verdict_of_a_single_call(loop, data):
    parts = list(data.draw(st.sampled_from(MIXED)))
    which = data.draw(st.integers(0, 2))
    part = bytearray(parts[which])
    how = data.draw(st.sampled_from(["flip", "cut", "grow"] if which < 2 else ["flip"]))
    if how == "flip":
        part[data.draw(st.integers(0, len(part) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    elif how == "cut":
        del part[data.draw(st.integers(0, len(part) - 1)) :]
    else:
        part += data.draw(st.binary(min_size=1, max_size=60))
    parts[which] = bytes(part)
    both(loop, [tuple(parts), GOOD[1]])
    if parts[3] == ECDSA and not is_strict_der(parts[1]):
        assert both(loop, [tuple(parts)]) == 0


def test_high_s_and_every_form_of_key_verify(loop):
    keys = pytest.importorskip("btclib_secp256k1.keys")
    public, signature, digest, _ = GOOD[0]
    full = keys.pubkey_from_prvkey(KEYS[0].private, compressed=False)
    hybrid = bytes([6 + (full[-1] & 1)]) + full[1:]
    good = [(key, high_s(signature), digest, ECDSA) for key in (public, full, hybrid)]
    assert both(loop, good) is None
    assert both(loop, [*good, (bytes([hybrid[0] ^ 1]) + full[1:], signature, digest, ECDSA)]) == 3


def test_numbers_beyond_the_order_are_refused_though_the_loop_could_parse_them(loop):
    signature = bytes.fromhex("3045022100" + "ff" * 32 + "0220" + "11" * 32)
    assert is_strict_der(signature)
    assert both(loop, [(KEYS[0].public, signature, bytes(32), ECDSA)]) == 0


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_number_of_threads_get_their_own_answers(threads):
    jobs = [batch([*GOOD[:at], changed(GOOD[at]), *GOOD]) for at in range(20)]
    answers = {}

    def run(which):
        for at in range(which, len(jobs), threads):
            answers[at] = jobs[at]()

    workers = [threading.Thread(target=run, args=(which,)) for which in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert answers == {at: at for at in range(20)}


def test_without_the_libraries_single_calls_give_the_verdicts(monkeypatch):
    module._compiled_or_none.cache_clear()
    monkeypatch.setattr(module, "_HAS_LIBRARIES", ECDSA)
    try:
        with pytest.warns(UserWarning, match="one by one"):
            good = batch(GOOD[:3])
        assert good() is None
        assert batch([*GOOD[:3], changed(GOOD[3])])() == 3
    finally:
        module._compiled_or_none.cache_clear()


@pytest.mark.parametrize(("name", "value"), [("_MESSAGE_AT", 139), ("_KEY_AT", 2)])
def test_a_loop_that_reads_records_wrongly_is_not_used(monkeypatch, loop, name, value):
    right = getattr(module, name)
    wrong = module._LOOP.replace(f"i64 {right}\n", f"i64 {value}\n")
    assert wrong != module._LOOP
    monkeypatch.setattr(module, "_LOOP", wrong)
    with pytest.raises(BatchError, match="disagree"):
        CompiledLoop()


def test_a_triple_that_verifies_alone_verifies_in_a_batch():
    assert all(verify(*each[:3]) for each in GOOD)
