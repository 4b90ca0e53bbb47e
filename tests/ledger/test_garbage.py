"""The garbage collector while blocks are connected."""

import gc

import pytest

from chain.ledger.garbage import rare_collections


@pytest.mark.parametrize("error", [None, KeyError, KeyboardInterrupt])
def test_its_thresholds_are_restored_however_it_ends(error):
    before = gc.get_threshold()
    try:
        with rare_collections():
            assert gc.get_threshold()[0] > before[0]
            if error is not None:
                raise error
    except (KeyError, KeyboardInterrupt):
        pass
    assert gc.get_threshold() == before
