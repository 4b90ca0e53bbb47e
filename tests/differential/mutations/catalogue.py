"""All mutations, by name."""

from types import ModuleType
from typing import Final

from tests.differential.mutation import Family, Mutation
from tests.differential.mutations import (
    branches,
    coinbases,
    commitments,
    copies,
    encodings,
    faults,
    flips,
    foreign,
    headers,
    limits,
    locks,
    outputs,
    scripts,
    signatures,
    spends,
    trees,
    values,
    witnesses,
)


def _of(module: ModuleType) -> list[Mutation]:
    families = [made for made in vars(module).values() if isinstance(made, Family)]
    return [member for family in families for member in family.members]


_MODULES: Final = (
    branches,
    coinbases,
    commitments,
    copies,
    encodings,
    faults,
    flips,
    foreign,
    headers,
    limits,
    locks,
    outputs,
    scripts,
    signatures,
    spends,
    trees,
    values,
    witnesses,
)
_ALL: Final = [
    (f"{module.__name__.rpartition('.')[2]}.{made.name}", made)
    for module in _MODULES
    for made in _of(module)
]
MUTATIONS: Final = dict(_ALL)
assert len(MUTATIONS) == len(_ALL), "two mutations of one name"
