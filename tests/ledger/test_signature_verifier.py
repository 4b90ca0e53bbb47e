"""Signature checks: the outcome does not depend on threads or caches."""

import os
import sys
from bisect import bisect_right
from itertools import accumulate

import pytest

from chain.consensus.coin import Coin
from chain.consensus.errors import InvalidError, Reason
from chain.consensus.spend import SpendCheck, spend_checks
from chain.ledger import signature_verifier as signature_verifier_module
from chain.ledger.signature_verifier import VerifiedSpends, Verifier
from chain.primitives.hashes import sha256
from chain.primitives.numbers import Amount, Hash32, Height, outpoint
from chain.primitives.transaction import Transaction
from tests.builders import KEY, pay, spend

COIN = Coin(Amount(10_000), KEY.script, Height(1), from_coinbase=False)
POINT = outpoint(Hash32(bytes(32)), 7)


def good(number):
    (check,) = spend_checks(spend([(POINT, COIN)], [pay(number)]), [COIN])
    return check


def bad(number):
    """Return the check of a transaction that was changed after it was signed."""
    tx = spend([(POINT, COIN)], [pay(number)])
    tx = Transaction(tx.version, tx.inputs, [pay(number + 1)])
    (check,) = spend_checks(tx, [COIN])
    return check


CHECKS = [good(number) for number in range(40)]


@pytest.fixture(params=[1, 2, 5])
def verifier(request):
    verifier = Verifier(request.param)
    yield verifier
    verifier.close()


@pytest.mark.parametrize("count", [0, 1, 8, 9, 40])
def test_good_checks_pass(verifier, count):
    verifier.start(CHECKS[:count]).wait()


@pytest.mark.parametrize("count", [1, 8, 9, 40])
@pytest.mark.parametrize("where", [0, -1])
def test_one_bad_check_fails_all(verifier, count, where):
    checks = list(CHECKS[:count])
    checks[where] = bad(1)
    with pytest.raises(InvalidError) as caught:
        verifier.start(checks).wait()
    assert caught.value.reason is Reason.SCRIPT


@pytest.mark.parametrize("sizes", [[15], [16], [3, 0, 5, 1], [5] * 7, [1] * 17])
@pytest.mark.parametrize("is_started", [False, True])
def test_gathered_checks_fail_only_the_block_that_they_are_of(verifier, sizes, is_started):
    for wrong in [None, *range(len(sizes))]:
        blocks, source = [], iter(CHECKS)
        for number, size in enumerate(sizes):
            checks = [next(source) for _ in range(size)]
            if number == wrong and checks:
                checks[-1] = bad(1)
            blocks.append(verifier.gather(checks))
        if is_started:
            verifier.start_gathered()
        errors = [verification.finish() for verification in reversed(blocks)][::-1]
        failed = [number for number, error in enumerate(errors) if error is not None]
        assert failed == ([] if wrong is None or not sizes[wrong] else [wrong])


def test_a_gathered_check_is_not_verified_before_enough_others_came(verifier):
    few = verifier.gather(CHECKS[:3])
    assert not verifier._gathered.is_started
    verifier.gather(CHECKS[3:16])
    assert verifier._gathered.is_started
    assert few.finish() is None


@pytest.mark.parametrize("chunk", [4, 512])
@pytest.mark.parametrize("sizes", [[9, 0, 20, 1], [1, 2], [5] * 7, [0, 0]])
def test_checks_of_a_run_fail_only_the_block_that_they_are_of(verifier, monkeypatch, sizes, chunk):
    monkeypatch.setattr(signature_verifier_module, "_CHUNK_MAX", chunk)
    ends = list(accumulate(sizes))
    for wrong in range(ends[-1]):
        checks = list(CHECKS[: ends[-1]])
        checks[wrong] = bad(1)
        errors = [verification.finish() for verification in verifier.start_run(checks, ends)]
        failed = [number for number, error in enumerate(errors) if error is not None]
        assert failed == [bisect_right(ends, wrong)]


def test_no_check_of_a_dropped_block_is_verified_again(verifier, monkeypatch):
    blocks = verifier.start_run([bad(1), *CHECKS], [1, 1, 1 + len(CHECKS)])
    again = []
    monkeypatch.setattr(SpendCheck, "is_right", again.append)
    assert [verification.refused() for verification in blocks] == [[0], [], [0]]
    assert again == []


def test_the_memory_of_verified_transactions_is_bounded_and_drops_the_oldest(monkeypatch):
    monkeypatch.setattr(signature_verifier_module, "VERIFIED_MAX", 20)
    verified = VerifiedSpends()
    wtxids = [sha256(b"%d" % number) for number in range(40)]
    for wtxid in wtxids:
        verified.add(wtxid)
    assert sum(wtxid in verified for wtxid in wtxids) <= 20
    assert all(wtxid in verified for wtxid in wtxids[-10:])
    assert wtxids[0] not in verified


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities for threads")
def test_only_the_threads_that_verify_give_way_to_others():
    verifier = Verifier(2)
    before = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        verifying = verifier._pool.submit(os.getpriority, os.PRIO_PROCESS, 0).result()
    finally:
        verifier.close()
    assert verifying > before or before == 19
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
