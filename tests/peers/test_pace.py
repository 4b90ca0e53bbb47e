"""How fast this machine is, beside what the gossip core's table of costs assumes."""

import pytest

from chain.primitives import signature
from chain.service.peers.pace import COST_FACTOR_MAX, measured_cost_factor


def test_a_machine_with_libsecp256k1_costs_less_than_without(monkeypatch: pytest.MonkeyPatch):
    with_library = measured_cost_factor()
    monkeypatch.setattr(signature, "dsa", None)
    without = measured_cost_factor()
    assert 1 <= with_library < without <= COST_FACTOR_MAX
