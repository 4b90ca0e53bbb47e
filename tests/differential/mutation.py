"""A mutation: one way to make blocks that might divide groat from Bitcoin Core."""

from collections.abc import Callable, Generator
from dataclasses import dataclass

from tests.differential.offer import Offer
from tests.differential.verdict import Verdict
from tests.differential.world import World

Offers = Generator[Offer, Verdict, None]


@dataclass(frozen=True)
class Mutation:
    """A named maker of offers; each is answered before the next one is made."""

    name: str
    offers: Callable[[World], Offers]


@dataclass(frozen=True)
class Family:
    """The mutations that one function makes, one for each of its values."""

    members: tuple[Mutation, ...]


def mutation(function: Callable[[World], Offers]) -> Family:
    return Family((Mutation(function.__name__, function),))


def for_each(*values: object) -> Callable[[Callable[..., Offers]], Family]:
    """Make a mutation for each value; a tuple is several arguments."""

    def family(function: Callable[..., Offers]) -> Family:
        members = []
        for value in values:
            arguments = value if isinstance(value, tuple) else (value,)
            name = f"{function.__name__}[{','.join(map(_word, arguments))}]"
            members.append(Mutation(name, _bound(function, arguments)))
        return Family(tuple(members))

    return family


def _bound(function: Callable[..., Offers], arguments: tuple) -> Callable[[World], Offers]:
    return lambda world: function(world, *arguments)


def _word(value: object) -> str:
    if isinstance(value, bytes):
        if not value:
            return "empty"
        return value.hex() if len(value) <= 40 else f"{len(value)} bytes"
    return str(value)
