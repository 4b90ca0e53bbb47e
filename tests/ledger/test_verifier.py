"""Signature checks: the same outcome whoever does them, and whatever is remembered."""

import os
import sys

import pytest

from chain.consensus.errors import InvalidError, Reason
from chain.consensus.spend import SignatureCheck
from chain.ledger import verifier as verifier_module
from chain.ledger.verifier import Verifier
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


def test_what_is_remembered_is_exactly_that(verifier):
    verifier.remember(CHECKS[:1])
    check = CHECKS[0]
    assert verifier.known(check)
    for other in (
        CHECKS[1],
        SignatureCheck(check.key, check.signature, CHECKS[1].digest),
        SignatureCheck(check.key + check.signature[:1], check.signature[1:], check.digest),
    ):
        assert not verifier.known(other)
    with pytest.raises(InvalidError):
        verifier.start([check, bad(0)]).wait()


def test_a_remembered_check_is_not_done_again(verifier):
    verifier.remember([bad(3)])  # so that it can be seen whether it is done
    verifier.start([bad(3)]).wait()


def test_the_memory_is_bounded_and_drops_the_oldest(monkeypatch):
    monkeypatch.setattr(verifier_module, "KNOWN_MAX", 10)
    verifier = Verifier(1)
    verifier.remember(CHECKS)
    assert sum(map(verifier.known, CHECKS)) <= 20
    assert all(map(verifier.known, CHECKS[-10:]))
    assert not verifier.known(CHECKS[0])
    verifier.close()


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
