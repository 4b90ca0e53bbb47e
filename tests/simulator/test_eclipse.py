"""An attacker who fills the address book does not choose all links."""

import pytest

from chain.simulator.eclipse import Attack, experiment

SEEDS = [1, 2]


@pytest.mark.parametrize(("share", "groups"), [(0.1, 2), (0.3, 32), (0.5, 2)])
def test_an_attacker_of_few_networks_never_has_all_links(share, groups):
    outcome = experiment(Attack(share, groups, anchors=True, feelers=True), SEEDS)
    assert outcome.eclipsed == 0, f"seeds {SEEDS}"
    assert outcome.of_links < 0.6, f"seeds {SEEDS}"


def test_two_networks_get_two_links_at_most():
    outcome = experiment(Attack(0.5, 2, anchors=True, feelers=True), SEEDS)
    assert outcome.of_links <= 0.2


def test_equal_seeds_give_equal_outcomes():
    attack = Attack(0.3, 32, anchors=False, feelers=True)
    assert experiment(attack, [3]) == experiment(attack, [3])
