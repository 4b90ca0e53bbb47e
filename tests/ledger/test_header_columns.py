"""Headers in columns are what entries are: over any tree, whatever is buried and held again."""

import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.consensus.entry import BlockTreeEntry, fork_point
from chain.consensus.genesis import genesis_block
from chain.consensus.params import REGTEST
from chain.ledger.header_columns import PAGE_BYTES, PAGE_HEADERS, HeaderColumns, Page
from chain.ledger.tree import HeaderTree
from chain.primitives.block import Header
from chain.primitives.numbers import Hash32

HELD = 12
GENESIS = genesis_block(REGTEST).header
BITS = [0x207FFFFF, 0x1D00FFFF, 0x1C123456]
WHAT = ["grow", "grow", "branch", "announce", "announce", "rival", "deliver", "deliver"]
WHAT += ["invalidate", "exclude", "include"]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(WHAT),
        st.integers(1, 150),  # how many, or how deep
        st.integers(0, 2**32),
    ),
    min_size=1,
    max_size=12,
)


def child_of(parent: BlockTreeEntry, source: Random) -> Header:
    time = parent.header.time + source.randrange(-3, 9)
    return Header(
        4, parent.id, source.randbytes(32), time, source.choice(BITS), source.randrange(9)
    )


@dataclass
class World:
    """One tree, followed by the plainest rule: the first complete block with the most work."""

    tree: HeaderTree
    tip: BlockTreeEntry
    sequences: dict[Hash32, int] = field(default_factory=lambda: {GENESIS.id: 0})

    @classmethod
    def new(cls, held: int) -> "World":
        genesis = BlockTreeEntry(GENESIS, None)
        return cls(HeaderTree(genesis, held_blocks=held), genesis)

    def add(self, header: Header) -> None:
        self.announce(header)
        self.deliver(header.id)

    def announce(self, header: Header) -> None:
        """Add a header without its block."""
        parent = self.tree.get(header.previous)
        if not self.tree.is_invalid(parent.id):
            self.tree.add(BlockTreeEntry(header, parent))

    def deliver(self, block_id: Hash32) -> None:
        """Add a block whose header may be known."""
        entry = self.tree.get(block_id)
        if entry is None or self.tree.is_invalid(block_id) or self.tree.is_stored(block_id):
            return
        for complete in self.tree.store(entry):
            self.sequences[complete.id] = len(self.sequences)
            self.tree.add_candidate(complete, self.sequences[complete.id])
        self.follow()

    def follow(self) -> None:
        while (better := self.tree.best_candidate(self.tip)) is not None:
            self.tip = better

    def invalidate(self, block_id: Hash32) -> None:
        """As when a connected block's signature turns out to be wrong."""
        entry = self.tree.get(block_id)
        self.step_below(entry)
        self.tree.mark_invalid(entry)
        self.rebuild()

    def exclude(self, ids: list[Hash32]) -> None:
        """As Chainstate.exclude."""
        roots = [self.tree.get(block_id) for block_id in ids]
        for root in roots:
            self.step_below(root)
        self.tree.exclude(roots)
        self.tip = fork_point(self.tip, self.tree.first_received(self.rivals(), self.tip))
        self.rebuild()

    def step_below(self, entry: BlockTreeEntry) -> None:
        if entry.is_ancestor_of(self.tip):
            self.tip = entry.parent

    def rebuild(self) -> None:
        self.tree.add_candidates(self.rivals(), self.tip)
        self.follow()

    def rivals(self) -> list[tuple[BlockTreeEntry, int]]:
        return [(e, self.sequences[e.id]) for e in self.tree.rivals(self.tip)]


@dataclass
class Pair:
    """A tree that holds every header, and one that buries what it can."""

    plain: World = field(default_factory=lambda: World.new(10**9))
    other: World = field(default_factory=lambda: World.new(HELD))
    known: list[Hash32] = field(default_factory=lambda: [GENESIS.id])
    excluded: list[Hash32] = field(default_factory=list)
    old: list[BlockTreeEntry] = field(default_factory=list)  # entries that someone keeps
    waiting: list[Hash32] = field(default_factory=list)  # headers whose blocks have not arrived

    def play(self, what: str, count: int, source: Random) -> None:
        getattr(self, what)(count, source)
        self.other.tree.bury(self.other.tip)
        self.old.append(self.other.tip)

    def grow(self, count: int, source: Random) -> None:
        self.extend(self.plain.tip.id, count, source)

    def branch(self, count: int, source: Random) -> None:
        tip = self.plain.tip
        start = tip.ancestor(max(tip.height - count, 0))
        self.extend(start.id, source.randrange(1, count + 20), source)

    def announce(self, count: int, source: Random, deep: int = 0) -> None:
        """Headers without blocks, on the best one or `deep` below it."""
        best, before = self.plain.tree.best_header, len(self.known)
        start = best.ancestor(max(best.height - deep, 0))
        self.extend(start.id, count + deep // 2, source, World.announce)
        self.waiting += self.known[before:]

    def rival(self, count: int, source: Random) -> None:
        self.announce(count, source, count)

    def deliver(self, count: int, source: Random) -> None:
        some, self.waiting = self.waiting[:count], self.waiting[count:]
        source.shuffle(some)
        for block_id in some:
            self.both(lambda world, block_id=block_id: world.deliver(block_id))

    def invalidate(self, count: int, source: Random) -> None:
        wrong = self.plain.tree.get(source.choice(self.known[-count:]))
        if wrong.height and not self.plain.tree.is_invalid(wrong.id):
            self.both(lambda world: world.invalidate(wrong.id))

    def exclude(self, count: int, source: Random) -> None:
        end = source.choice([self.plain.tip, self.plain.tree.best_header])
        if end.height:
            self.excluded.append(end.ancestor(max(end.height - count, 1)).id)
            self.both(lambda world: world.exclude(self.excluded))

    def include(self, _count: int, _source: Random) -> None:
        self.excluded = []
        self.both(lambda world: world.exclude(self.excluded))

    def extend(self, start: Hash32, count: int, source: Random, add=World.add) -> None:
        at = self.plain.tree.get(start)
        for _ in range(count):
            header = child_of(at, source)
            self.both(lambda world, header=header: add(world, header))
            at = self.plain.tree.get(header.id)
            if at is None:
                return
            self.known.append(header.id)

    def both(self, do) -> None:
        do(self.plain)
        do(self.other)

    def check(self, source: Random) -> None:
        plain, other = self.plain.tree, self.other.tree
        assert self.other.tip == self.plain.tip
        assert other.best_header.chain_work == plain.best_header.chain_work
        assert not other.is_invalid(other.best_header.id)
        assert len(other) == len(plain) == len({entry.id for entry in other})
        assert dict(self.other.rivals()) == dict(self.plain.rivals())
        self.check_columns()
        assert {entry.id for entry in other} == {entry.id for entry in plain}
        for block_id in self.known:
            same_entry(other.get(block_id), plain.get(block_id))
            assert other.is_invalid(block_id) == plain.is_invalid(block_id)
            assert other.is_stored(block_id) == plain.is_stored(block_id)
            for tree in (other, plain):
                entry = tree.get(block_id)
                assert entry is None or tree.has_data(entry) == tree.is_stored(block_id)
        for entry in [*self.old, *(other.get(source.choice(self.known)) for _ in range(20))]:
            same_ancestry(entry, plain.get(entry.id), source)
            right = plain.get(source.choice(self.known))
            assert fork_point(entry, other.get(right.id)) == fork_point(plain.get(entry.id), right)
            assert entry.is_ancestor_of(self.other.tip) == entry.is_ancestor_of(self.plain.tip)
        assert other.get(Hash32(source.randbytes(32))) is None

    def check_columns(self) -> None:
        tree, tip = self.other.tree, self.other.tip
        buried = [tree.columns.entry(height) for height in range(len(tree.columns))]
        assert not any(tree.is_invalid(entry.id) for entry in buried)
        connected = buried[: tree.connected]
        assert all(e.is_ancestor_of(tip) and tree.is_stored(e.id) for e in connected)
        last = tree.columns.last
        if last is not None and last.is_ancestor_of(tree.best_header):
            assert tree.best_header.height - last.height <= HELD + PAGE_HEADERS


def same_entry(one: BlockTreeEntry, other: BlockTreeEntry) -> None:
    assert (one, hash(one)) == (other, hash(other))
    for name in ("height", "header", "chain_work", "anchor_time", "median_time_past", "parent"):
        assert getattr(one, name) == getattr(other, name), name
    assert one.skip == other.skip


def same_ancestry(one: BlockTreeEntry, other: BlockTreeEntry, source: Random) -> None:
    same_entry(one, other)
    assert one.locator() == other.locator()
    height = source.randrange(one.height + 1)
    same_entry(one.ancestor(height), other.ancestor(height))
    above = max(height, one.height - 200)
    assert one.raw_headers(above) == other.raw_headers(above) == raw_headers(other, above)


def raw_headers(entry: BlockTreeEntry, above: int) -> bytes:
    return b"".join(entry.ancestor(h).header.encode() for h in range(above + 1, entry.height + 1))


@given(STEPS, st.integers(0, 2**32))
def test_columns_say_of_any_tree_what_entries_say(steps, seed):
    pair = Pair()
    for what, count, number in steps:
        pair.play(what, count, Random(number))
    pair.check(Random(seed))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30))
def test_columns_say_of_any_large_tree_what_entries_say(seed):
    source, pair = Random(seed), Pair()
    for _ in range(60):
        what = source.choice(WHAT)
        pair.play(what, source.randrange(1, 200), source)
        pair.check(source)


def chain_of(count: int) -> list[BlockTreeEntry]:
    source, entries = Random(1), [BlockTreeEntry(GENESIS, None)]
    while len(entries) < count:
        entries.append(BlockTreeEntry(child_of(entries[-1], source), entries[-1]))
    return entries


def pages_of(entries: list[BlockTreeEntry]) -> list[Page]:
    starts = range(0, len(entries), PAGE_HEADERS)
    return [
        Page.of(
            b"".join(e.header.encode() for e in entries[at : at + PAGE_HEADERS]),
            entries[at - 1].chain_work if at else 0,
        )
        for at in starts
    ]


def test_columns_find_every_id_however_many_there_are():
    entries = chain_of(40 * PAGE_HEADERS)
    pages = pages_of(entries)
    columns = HeaderColumns(pages[:3])
    for page in pages[3:]:
        columns.append(page)
    assert [columns.find(entry.id) for entry in entries] == list(range(len(entries)))
    assert columns.find(Hash32(bytes(32))) is None
    assert columns.find(chain_of(1)[0].id) == 0


def test_columns_take_less_than_a_hundred_bytes_a_header_however_many_there_are():
    source, columns, sizes = Random(4), HeaderColumns(), []
    for number in range(3_000):
        columns.append(Page.of(source.randbytes(PAGE_BYTES), number << 70))
        page = columns.pages[-1]
        sizes.append(sum(map(sys.getsizeof, (page, page.raw, page.work, page.last_id))))
        total = sum(sizes) + sys.getsizeof(columns.pages) + sys.getsizeof(columns._slots)
        assert number < 100 or total < 100 * len(columns)


def test_what_was_cut_off_is_still_looked_up_by_what_was_buried_in_it():
    entries = chain_of(4 * PAGE_HEADERS)
    columns = HeaderColumns(pages_of(entries))
    buried = columns.entry(len(columns) - 1)
    lower = columns.cut(2)
    columns.drop_index()
    assert len(lower) == 2 * PAGE_HEADERS
    assert lower.find(entries[2 * PAGE_HEADERS].id) is None
    assert lower.find(entries[2 * PAGE_HEADERS - 1].id) == 2 * PAGE_HEADERS - 1
    same_ancestry(buried, entries[-1], Random(2))


def test_what_is_cut_off_and_appended_again_many_times_does_not_fill_the_index():
    pages = pages_of(chain_of(4 * PAGE_HEADERS))
    columns = HeaderColumns(pages)
    for _ in range(200):
        columns = columns.cut(2)
        for page in pages[2:]:
            columns.append(page)
    assert columns.find(pages[3].last_id) == 4 * PAGE_HEADERS - 1
    assert len(columns._slots) <= 1 << 12


def test_an_entry_that_is_buried_lets_go_of_what_is_below():
    world = World.new(HELD)
    source = Random(3)
    for _ in range(400):
        world.add(child_of(world.tip, source))
        world.tree.bury(world.tip)
    held = {entry.id for entry in world.tree.held()}
    assert HELD <= len(held) <= HELD + PAGE_HEADERS
    seen, new = set(), [world.tip]
    while new:  # everything that is reached through entries
        entry = new.pop()
        if entry is not None and id(entry) not in seen:
            seen.add(id(entry))
            new += [entry._parent, entry._skip]
    assert len(seen) <= len(held) + 60, "log2(400) squared, at most"


def ahead_of_blocks(count: int) -> tuple[World, list[Hash32]]:
    """Return a world with so many headers and no block, and their ids."""
    world, source, ids = World.new(HELD), Random(6), []
    for _ in range(count):
        header = child_of(world.tree.best_header, source)
        world.announce(header)
        world.tree.bury(world.tip)
        ids.append(header.id)
    return world, ids


def test_headers_ahead_of_their_blocks_are_in_columns_until_blocks_are_connected_to_them():
    world, ids = ahead_of_blocks(400)
    tree = world.tree
    assert len(tree.columns) == (400 - HELD) // PAGE_HEADERS * PAGE_HEADERS
    assert tree.connected == 0
    assert not tree.connected_pages
    assert len(list(tree.held())) <= HELD + PAGE_HEADERS
    assert not any(map(tree.is_stored, ids))
    for number, block_id in enumerate(ids, 1):
        world.deliver(block_id)
        tree.bury(world.tip)
        assert world.tip.id == block_id
        assert tree.connected == max(number - HELD, 0) // PAGE_HEADERS * PAGE_HEADERS
        assert len(tree._stored) <= HELD + PAGE_HEADERS + 1
    assert len(tree.columns) == tree.connected
    assert all(map(tree.is_stored, ids))


def test_blocks_that_arrive_before_their_parents_deep_in_the_headers_ahead_wait_for_them():
    world, ids = ahead_of_blocks(400)
    for block_id in [*ids[1:90], ids[0]]:
        assert world.tip.height == 0
        world.deliver(block_id)
        world.tree.bury(world.tip)
    assert world.tip.id == ids[89]


def test_a_complete_branch_among_the_headers_ahead_is_a_rival_of_the_tip():
    world, branches = World.new(HELD), []
    for length in (30, 400):
        at, ids = world.tree.genesis, []
        while at.height < length:
            header = Header(4, at.id, bytes([length % 256]) * 32, at.height + 1, BITS[0], 0)
            world.announce(header)
            at = world.tree.get(header.id)
            ids.append(at.id)
        branches.append(ids)
    first, second = branches
    for block_id in [*first, *second[:30]]:
        world.deliver(block_id)
        world.tree.bury(world.tip)
    assert world.tip.id == first[-1], "with the same work it was complete first"
    assert world.tree.columns.find(second[29]) == 30
    assert {entry.id for entry in world.tree.rivals(world.tip)} == {first[-1], second[29]}
    world.exclude([first[20]])
    assert world.tip.id == second[29]


@pytest.mark.parametrize("at", [0, 100, 399])
def test_a_header_ahead_that_becomes_invalid_takes_all_that_follow_out_of_the_columns(at):
    world, ids = ahead_of_blocks(400)
    invalid = world.tree.mark_invalid(world.tree.get(ids[at]))
    assert [entry.id for entry in invalid] == ids[at:]
    assert [world.tree.is_invalid(block_id) for block_id in ids] == [
        number >= at for number in range(400)
    ]
    assert world.tree.best_header.height == at
    assert len(world.tree.columns) <= at


def entries_held(tree: HeaderTree) -> int:
    return len(list(tree.held()))


@pytest.mark.parametrize("at", [0, 1, 63, 127, 500, 985])
def test_any_number_of_excluded_headers_takes_few_entries(at):
    world, ids = ahead_of_blocks(1_000)
    tree = world.tree
    for _ in range(3):
        world.exclude([ids[at]])
        assert entries_held(tree) <= HELD + 2 * PAGE_HEADERS
        assert len(tree) == 1 + len(ids)
        assert tree.best_header.height == at
        assert [tree.is_invalid(block_id) for block_id in ids] == [n >= at for n in range(1_000)]
        assert [tree.get(block_id).height for block_id in ids] == list(range(1, 1_001))
        assert tree.get(ids[-1]).ancestor(at).id == tree.best_header.id
        world.exclude([ids[at], ids[at // 2]])
        assert tree.best_header.height == at // 2
        assert entries_held(tree) <= HELD + 4 * PAGE_HEADERS
        world.exclude([])
        assert tree.best_header.id == ids[-1]
        assert not any(map(tree.is_invalid, ids))
        tree.bury(world.tip)
        assert len(tree.columns) == (1_000 - HELD) // PAGE_HEADERS * PAGE_HEADERS
        assert entries_held(tree) <= HELD + 4 * PAGE_HEADERS
    for block_id in ids:
        world.deliver(block_id)
        tree.bury(world.tip)
    assert world.tip.id == ids[-1]
    assert len(tree) == 1 + len(ids)


def rival_chain(world: World, fork: int, length: int) -> list[Hash32]:
    """Announce so many headers from a height of the best ones on, and return their ids."""
    source, at, ids = Random(fork), world.tree.best_header.ancestor(fork), []
    for _ in range(length):
        header = child_of(at, source)
        world.announce(header)
        world.tree.bury(world.tip)
        at = world.tree.get(header.id)
        ids.append(at.id)
    return ids


def test_chains_of_headers_that_overtake_each_other_are_columns_except_their_ends():
    world, first = ahead_of_blocks(1_000)
    second = rival_chain(world, 70, 3_000)
    tree = world.tree
    assert tree.best_header.id == second[-1]
    assert entries_held(tree) < 600, "those that were announced before they had the most work"
    third = rival_chain(world, 2_000, 4_000)
    assert tree.best_header.id == third[-1]
    assert len(tree) == 1 + len(first) + len(second) + len(third)
    assert {first[-1], second[-1]} <= {entry.id for entry in tree.latest(600)}
    for ids in (first, second, third):
        assert [tree.get(block_id).id for block_id in ids] == ids
    for block_id in first:
        world.deliver(block_id)
        tree.bury(world.tip)
    assert world.tip.id == first[-1], "the blocks that arrive are followed"
    assert tree.columns.find(first[900]) == 901
    assert len(tree) == 1 + len(first) + len(second) + len(third)


@pytest.mark.parametrize("at", [10, 70, 300])
def test_what_follows_an_invalid_header_is_forgotten_in_each_branch(at, monkeypatch):
    monkeypatch.setattr("chain.ledger.tree.INVALID_MAX", 5 * PAGE_HEADERS)
    world, first = ahead_of_blocks(1_000)
    second = rival_chain(world, 200, 3_000)
    tree, all_ids = world.tree, {*first, *second}
    wrong = tree.get(first[at])
    below = {*first[:at]} | ({*second} if at >= 200 else set())
    forgotten = list(tree.forget_above(wrong))
    marked = [entry.id for entry in tree.mark_invalid(wrong)]
    assert marked[0] == wrong.id
    assert len(marked) <= 5 * PAGE_HEADERS
    assert len(forgotten) == len({*forgotten})
    assert {*forgotten} | {*marked} == all_ids - below
    assert not {*forgotten} & {*marked}
    assert all(tree.get(block_id) is None for block_id in forgotten)
    assert len(tree) == 1 + len(all_ids) - len(forgotten)
    assert not any(map(tree.is_invalid, below))
    assert tree.best_header.id == (second[-1] if at >= 200 else first[at - 1])


def test_the_headers_ahead_follow_the_best_header_to_another_branch():
    world, ids = ahead_of_blocks(400)
    source, at = Random(7), world.tree.get(ids[99])
    while at.height < 1_000:
        header = child_of(at, source)
        world.announce(header)
        world.tree.bury(world.tip)
        at = world.tree.get(header.id)
    assert world.tree.best_header == at
    assert world.tree.columns.find(at.ancestor(900).id) == 900
    assert len(list(world.tree.held())) <= HELD + PAGE_HEADERS + 300 + PAGE_HEADERS
    for block_id in ids:
        world.deliver(block_id)  # the branch that was left is still followed
    assert world.tip.id == ids[-1]


def test_other_threads_find_every_header_while_some_are_buried_and_held_again():
    world, source, problems, done = World.new(HELD), Random(5), [], threading.Event()
    for _ in range(400):
        world.add(child_of(world.tip, source))
    right = {entry.id: entry.parent.id for entry in world.tree if entry.height}
    tip, ids = world.tip, sorted(right)

    def look():
        chosen = Random(threading.get_ident())
        while not done.is_set():
            block_id = chosen.choice(ids)
            entry = world.tree.get(block_id)
            if (
                entry is None
                or entry.parent.id != right[block_id]
                or tip.ancestor(entry.height).id != block_id
                or not world.tree.is_stored(block_id)
                or not world.tree.has_data(entry)
            ):
                problems.append(block_id)

    with running_beside(look, done):
        for _ in range(30):
            world.tree.bury(tip)
            world.tree.exclude([tip.ancestor(source.randrange(1, 400))])
            world.tree.exclude([])
    assert not problems


def test_other_threads_find_every_header_while_runs_are_added():
    source, problems, done = Random(5), [], threading.Event()
    entries = [BlockTreeEntry(GENESIS, None)]
    for _ in range(400):
        entries.append(BlockTreeEntry(child_of(entries[-1], source), entries[-1]))
    trees = [HeaderTree(BlockTreeEntry(GENESIS, None), held_blocks=HELD)]

    def look():
        chosen = Random(threading.get_ident())
        while not done.is_set():
            tree = trees[-1]
            height = chosen.randint(0, tree.best_header.height)
            entry = tree.get(entries[height].id)
            if entry is None or entry.height != height:
                problems.append(height)

    with running_beside(look, done):
        for _ in range(100):
            tree = HeaderTree(BlockTreeEntry(GENESIS, None), held_blocks=HELD)
            trees.append(tree)
            for entry in entries[1 : source.randrange(2, 200)]:
                tree.add(BlockTreeEntry(entry.header, tree.best_header))
            while (base := tree.best_header).height < 400:
                some = entries[base.height + 1 : base.height + source.randrange(2, 150)]
                tree.add_run(base, b"".join(entry.header.encode() for entry in some))
                tree.bury_ahead()
    assert not problems


@contextmanager
def running_beside(look, done):
    """Let two threads look, which change places with this one as often as possible."""
    threads = [threading.Thread(target=look) for _ in range(2)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        yield
    finally:
        done.set()
        sys.setswitchinterval(interval)
        for thread in threads:
            thread.join()
