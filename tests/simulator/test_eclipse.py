"""An attacker who fills the address book does not choose all links (H1)."""

import json
import subprocess
import sys

import pytest

from chain.simulator.eclipse import DEFENCES, Attack, Defence, experiment

SEEDS = [1, 2]
ALL_ON = [Defence()]


@pytest.mark.parametrize(("share", "groups"), [(0.1, 2), (0.3, 32), (0.5, 2)])
def test_an_attacker_of_few_networks_never_has_all_links(share, groups):
    (outcome,) = experiment(Attack(share, groups), SEEDS, ALL_ON)
    assert outcome.eclipsed == 0, f"seeds {SEEDS}"
    assert outcome.of_links < 0.6, f"seeds {SEEDS}"


def test_two_networks_get_two_links_at_most():
    with_rule, without = experiment(Attack(0.5, 2), SEEDS, [Defence(), Defence(one_a_group=False)])
    assert with_rule.of_links <= 0.2 < without.of_links


def test_equal_seeds_give_equal_outcomes_for_each_defence():
    attack = Attack(0.3, 32)
    assert experiment(attack, [3]) == experiment(attack, [3])
    assert len({outcome.of_links for outcome in experiment(attack, [3])}) > 1


@pytest.mark.slow
def test_the_table_does_not_depend_on_how_many_processes_made_it():
    made = [
        subprocess.run(
            [sys.executable, "-m", "chain.simulator.eclipse", "--json", *flags.split()],
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        ).stdout
        for flags in ("--seeds 2", "--seeds 2 --processes 2")
    ]
    assert made[0] == made[1]
    rows = [json.loads(line) for line in made[0].splitlines()]
    assert len(rows) == 9 * len(DEFENCES)
