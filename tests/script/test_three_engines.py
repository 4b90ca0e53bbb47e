"""groat, Bitcoin Core's kernel and btclib say the same of random spends, errors and policy too."""

from collections import Counter

import pytest

from chain.script.flags import CONSENSUS, STANDARD
from tests.script.engines import btclib, groat, queued
from tests.script.kernel_process import Case, Kernel
from tests.script.random_spends import SpendMaker

SPENDS = 500
SLOW_SPENDS = 20_000


@pytest.fixture(scope="module")
def kernel():
    pytest.importorskip("pbk", reason="no oracle: py-bitcoinkernel is not installed")
    with Kernel() as kernel:
        yield kernel


def compare(case: Case, by_kernel: bool) -> tuple[str, str]:
    """Compare all there is to one spend, and return groat's two answers."""
    consensus, standard = groat(case, CONSENSUS), groat(case, STANDARD)
    assert (consensus == "OK") is by_kernel, (consensus, case)
    assert consensus == btclib(case, CONSENSUS), case
    assert standard == btclib(case, STANDARD), case
    assert standard != "OK" or consensus == "OK", case
    assert queued(case) is by_kernel, case
    return consensus, standard


def run(kernel: Kernel, seed: int, count: int) -> Counter[str]:
    maker = SpendMaker(seed)
    cases = [maker.next() for _ in range(count)]
    verdicts = kernel.ask(cases)
    return Counter(compare(*pair)[0] for pair in zip(cases, verdicts, strict=True))


@pytest.mark.parametrize("seed", range(10))
def test_random_spends(seed, kernel):
    seen = run(kernel, seed, SPENDS)
    assert seen["OK"] > SPENDS // 5
    assert len(seen) > 15


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 110))
def test_many_random_spends(seed, kernel):
    seen: Counter[str] = Counter()
    for part in range(SLOW_SPENDS // 1000):
        seen += run(kernel, seed * 1000 + part, 1000)
    assert seen["OK"] > SLOW_SPENDS // 5
    assert len(seen) > 35
