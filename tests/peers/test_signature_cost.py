"""How fast this machine verifies signatures, which peers are charged for."""

import pytest

from chain.gossip.limits import SIGNATURE_US
from chain.primitives import signature
from chain.service.peers.signature_cost import SIGNATURE_US_MAX, measured_signature_us


def test_a_machine_with_libsecp256k1_costs_less_than_without(monkeypatch: pytest.MonkeyPatch):
    with_library = measured_signature_us()
    monkeypatch.setattr(signature, "dsa", None)
    without = measured_signature_us()
    assert SIGNATURE_US <= with_library < without <= SIGNATURE_US_MAX
