"""Signature checks: the outcome does not depend on threads or caches."""

import os
import sys

import pytest

from chain.consensus.errors import InvalidError, Reason
from chain.consensus.spend import SignatureCheck
from chain.ledger import signature_verifier as signature_verifier_module
from chain.ledger.signature_verifier import VerifiedSpends, Verifier
from chain.primitives.hashes import sha256
from chain.primitives.signature import sign
from tests.builders import KEY


def good(number):
    digest = sha256(b"%d" % number)
    return SignatureCheck(KEY.public, sign(KEY.private, digest), digest)


def bad(number):
    check = good(number)
    return SignatureCheck(check.key, check.signature, sha256(b"other"))


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
