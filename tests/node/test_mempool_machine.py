"""The mempool against a model of a hundred lines, whatever happens in whatever order (Z3)."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chain.consensus.errors import InvalidError
from chain.consensus.params import REGTEST
from chain.node.entry import Package, PoolEntry
from chain.node.mempool import Reorganisation
from chain.node.policy import Policy, PolicyError
from chain.node.selection import select
from chain.node.template import TEMPLATE_ROOM, Template, find_invalid_entry
from chain.primitives.numbers import Hash32, OutPoint, outpoint_txid
from chain.primitives.transaction import Transaction
from tests.builders import KEY, Key
from tests.node.world import COIN, Held, World, output, send

FEE = 1000
DEPTH_MAX = 3
PACKAGE_MAX = 6
EXPIRY_S = 1000
CHOICE = st.integers(0, 1 << 20)


class Model:
    """What should be in the pool: transactions in order, with the times they came."""

    def __init__(self) -> None:
        self.times: dict[Hash32, int] = {}
        self.transactions: dict[Hash32, Transaction] = {}

    def add(self, tx: Transaction, time: int) -> None:
        self.transactions[tx.txid] = tx
        self.times[tx.txid] = time

    def remove(self, txids: set[Hash32]) -> None:
        for txid in txids:
            del self.transactions[txid]
            del self.times[txid]

    def spenders(self, points: set[OutPoint]) -> set[Hash32]:
        return {
            txid
            for txid, tx in self.transactions.items()
            if any(txin.outpoint in points for txin in tx.inputs)
        }

    def below(self, txids: set[Hash32]) -> set[Hash32]:
        """The transactions and all that need them."""
        found = set(txids)
        while True:
            more = {
                txid
                for txid, tx in self.transactions.items()
                if any(outpoint_txid(txin.outpoint) in found for txin in tx.inputs)
            }
            if more <= found:
                return found
            found |= more

    def above(self, txid: Hash32) -> set[Hash32]:
        """The transaction and all in the pool that it needs."""
        found, waiting = set(), [txid]
        while waiting:
            at = waiting.pop()
            if at in self.transactions and at not in found:
                found.add(at)
                waiting += [outpoint_txid(i.outpoint) for i in self.transactions[at].inputs]
        return found

    def total(
        self, txids: set[Hash32], fees: dict[Hash32, int], deltas: dict[Hash32, int]
    ) -> Package:
        vsize = sum(self.transactions[txid].vsize for txid in txids)
        paid = sum(fees[txid] for txid in txids)
        counted = sum(bounded(fees[txid] + deltas.get(txid, 0)) for txid in txids)
        return Package(len(txids), vsize, paid, counted)


def bounded(grains: int) -> int:
    return sorted((-(1 << 63), grains, (1 << 63) - 1))[1]


class MempoolMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        policy = Policy(package_count_max=PACKAGE_MAX, expiry_s=EXPIRY_S)
        self.world = World(policy)
        self.model = Model()
        self.held: list[Held] = [self.world.fund() for _ in range(4)]  # all ever made
        self.fees: dict[Hash32, int] = {}
        self.deltas: dict[Hash32, int] = {}
        self.serial = 0

    def _available(self) -> list[Held]:
        """Return the coins that exist, confirmed or pooled, and that the pool does not spend."""
        pooled = self.model.transactions
        return [
            (point, coin)
            for point, coin in self.held
            if (point in self.world.coins or outpoint_txid(point) in pooled)
            and not self.model.spenders({point})
        ]

    def _pick(self, coins: list[Held], choice: int, count: int) -> list[Held]:
        picked = [coins[(choice + step * 7) % len(coins)] for step in range(count)]
        return list(dict(picked).items())

    def _offer(self, tx: Transaction, fee: int) -> bool:
        """Offer a transaction; the pool and the model both take it, or neither does."""
        self.fees[tx.txid] = fee
        before = dict(self.world.mempool.pool._by_txid)
        try:
            self.world.submit(tx)
        except (PolicyError, InvalidError):
            assert self.world.mempool.pool._by_txid == before
            return False
        conflicts = self.model.spenders({txin.outpoint for txin in tx.inputs})
        self.model.remove(self.model.below(conflicts))
        self.model.add(tx, self.world.now)
        return True

    def _send(self, held: list[Held], outputs: int, fee: int) -> None:
        tx = send(held, fee, outputs=outputs)
        if self._offer(tx, fee):
            self.held += [output(tx, index) for index in range(outputs)]

    @precondition(lambda self: self._available())
    @rule(choice=CHOICE, inputs=st.integers(1, 3), outputs=st.integers(1, 3))
    def add(self, choice, inputs, outputs):
        self._send(self._pick(self._available(), choice, inputs), outputs, FEE + choice % 500)

    @rule(choice=CHOICE, inputs=st.integers(1, 3), outputs=st.integers(1, 3))
    def replace_or_fail(self, choice, inputs, outputs):
        self._send(self._pick(self.held, choice, inputs), outputs, FEE + choice % 20_000)

    @rule()
    def fund(self):
        self.held.append(self.world.fund())

    @precondition(lambda self: self.model.transactions)
    @rule(choice=CHOICE)
    def bump_the_fee(self, choice):
        txids = list(self.model.transactions)
        old = self.model.transactions[txids[choice % len(txids)]]
        known = dict(self.held)
        held = [(txin.outpoint, known[txin.outpoint]) for txin in old.inputs]
        fee = sum(self.fees[txid] for txid in self.model.below({old.txid})) + FEE
        if sum(coin.value for _, coin in held) <= fee + FEE:
            return
        if self._offer(tx := send(held, fee), fee):
            self.held.append(output(tx))

    @precondition(lambda self: self.fees)
    @rule(choice=CHOICE, grains=st.integers(-2 * FEE, 2 * FEE) | st.integers(-(1 << 63), 1 << 63))
    def prioritise(self, choice, grains):
        """Change a delta of what is pooled, gone, or was refused and may come again."""
        txids = list(self.fees)
        txid = txids[choice % len(txids)]
        self.world.mempool.prioritise(txid, grains)
        self.deltas[txid] = bounded(self.deltas.get(txid, 0) + grains)

    @precondition(lambda self: self.held)
    @rule(choice=CHOICE, grains=st.integers(-2 * FEE, 2 * FEE))
    def prioritise_what_comes_then(self, choice, grains):
        fee = FEE + choice % 500
        held = self._pick(self.held, choice, 1)
        self.world.mempool.prioritise(send(held, fee).txid, grains)
        txid = send(held, fee).txid
        self.deltas[txid] = bounded(self.deltas.get(txid, 0) + grains)
        self._send(held, 1, fee)

    def _mine(self, choice: int) -> list[Transaction]:
        """Choose pooled transactions for a block, each with what it needs."""
        wanted: set[Hash32] = set()
        for number, txid in enumerate(self.model.transactions):
            if choice >> number & 1:
                wanted |= self.model.above(txid)
        return [tx for txid, tx in self._sorted(self.model.transactions) if txid in wanted]

    def _sorted(self, transactions: dict[Hash32, Transaction]) -> list:
        """Return them with parents first."""
        done: dict[Hash32, Transaction] = {}
        while len(done) < len(transactions):
            for txid, tx in transactions.items():
                needed = {outpoint_txid(i.outpoint) for i in tx.inputs} & set(transactions)
                if txid not in done and needed <= set(done):
                    done[txid] = tx
        return list(done.items())

    @rule(choice=CHOICE)
    def mine(self, choice):
        mined = self._mine(choice)
        self.world.connect(mined)
        self.model.remove({tx.txid for tx in mined})
        self._confirm(mined)

    @precondition(lambda self: self.model.transactions)
    @rule(choice=CHOICE)
    def mine_a_conflict(self, choice):
        txids = list(self.model.transactions)
        spent = self.model.transactions[txids[choice % len(txids)]].inputs[0].outpoint
        coin = self.world.coins.get(spent)
        if coin is None:
            return
        theirs = send([(spent, coin)], 5 * FEE, outputs=2)
        self.fees[theirs.txid] = 5 * FEE
        if theirs.txid in self.model.transactions:
            return
        self.world.connect([theirs])
        self._confirm([theirs])
        self.model.remove(self.model.below(self.model.spenders({spent})))
        self.held += [output(theirs, index) for index in range(2)]

    def _confirm(self, transactions: list[Transaction]) -> None:
        """Forget the deltas of these and of those that conflict with them."""
        spent = {txin.outpoint for tx in transactions for txin in tx.inputs}
        for txid in {tx.txid for tx in transactions} | self.model.spenders(spent):
            self.deltas.pop(txid, None)

    @precondition(lambda self: self.world.blocks)
    @rule(depth=st.integers(1, DEPTH_MAX), connected=st.integers(0, DEPTH_MAX), choice=CHOICE)
    def reorganise(self, depth, connected, choice):
        """Move to another branch, which holds some of what the old one or the pool held."""
        disconnected = [self.world.undo() for _ in range(min(depth, len(self.world.blocks)))]
        returning = [tx for block in reversed(disconnected) for tx in block.transactions[1:]]
        arriving = []
        for number in range(connected):
            taken = returning[number::2] if choice >> number & 1 else []
            fitting = [tx for tx in taken if self._can_confirm(tx)][:1]
            if not fitting and choice >> number & 2:
                fitting = self._conflict(choice)
            self.serial += 1
            arriving.append(self.world.extend(fitting, extra=b"%d" % self.serial))
        change = Reorganisation(disconnected, arriving, self.world.tip, self.world.coins)
        returned, _, _ = self.world.mempool.reorganise(change, self.world.now)
        self._rebuild(returning, arriving)
        assert all(entry.txid in self.model.transactions for entry in returned)

    def _conflict(self, choice: int) -> list[Transaction]:
        """Make a transaction that spends a confirmed coin which a pooled one spends too."""
        spent = [
            (txin.outpoint, self.world.coins[txin.outpoint])
            for tx in self.model.transactions.values()
            for txin in tx.inputs
            if txin.outpoint in self.world.coins
        ]
        if not spent:
            return []
        tx = send([spent[choice % len(spent)]], 7 * FEE)
        self.fees[tx.txid] = 7 * FEE
        return [tx]

    def _can_confirm(self, tx: Transaction) -> bool:
        return all(txin.outpoint in self.world.coins for txin in tx.inputs)

    def _rebuild(self, returning: list, arriving: list) -> None:
        """Put everything into an empty model again, in order, as far as it fits."""
        confirmed = {tx.txid for block in arriving for tx in block.transactions}
        self._confirm([tx for block in arriving for tx in block.transactions])
        old, self.model = self.model, Model()
        offers = [(tx, self.world.now) for tx in returning]
        offers += [(tx, old.times[txid]) for txid, tx in old.transactions.items()]
        for tx, time in offers:
            if tx.txid not in confirmed and self._fits(tx):
                self.model.add(tx, time)

    def _fits(self, tx: Transaction) -> bool:
        model = self.model
        if model.spenders({txin.outpoint for txin in tx.inputs}):
            return False
        for txin in tx.inputs:
            parent = model.transactions.get(outpoint_txid(txin.outpoint))
            if parent is None and txin.outpoint not in self.world.coins:
                return False
        model.add(tx, 0)
        above = model.above(tx.txid)
        fits = all(len(model.below({txid})) <= PACKAGE_MAX for txid in above)
        fits &= len(above) <= PACKAGE_MAX
        model.remove({tx.txid})
        return fits

    @rule(seconds=st.integers(1, EXPIRY_S // 2))
    def wait(self, seconds):
        self.world.now += seconds
        self.world.mempool.expire(self.world.now)
        limit = self.world.now - EXPIRY_S
        for txid in list(self.model.transactions):  # by arrival: the first that is young ends it
            if txid in self.model.times:
                if self.model.times[txid] > limit:
                    break
                self.model.remove(self.model.below({txid}))

    @invariant()
    def the_pool_is_the_models(self):
        entries = self.world.mempool.pool.entries()
        assert [entry.txid for entry in entries] == list(self.model.transactions)

    @invariant()
    def no_two_conflict_and_parents_come_first(self):
        spent: set[OutPoint] = set()
        seen: set[Hash32] = set()
        for entry in self.world.mempool.pool.entries():
            for txin in entry.transaction.inputs:
                assert txin.outpoint not in spent
                spent.add(txin.outpoint)
                assert txin.outpoint in self.world.coins or outpoint_txid(txin.outpoint) in seen
            seen.add(entry.txid)

    @invariant()
    def figures_are_those_of_the_entries(self):
        pool = self.world.mempool.pool
        entries = pool.entries()
        assert pool.count == len(entries)
        assert pool.vsize == sum(entry.vsize for entry in entries)
        assert pool.fees == sum(entry.fee for entry in entries)
        assert pool.usage_bytes == sum(entry.usage_bytes for entry in entries)
        for entry in entries:
            below = self.model.below({entry.txid})
            above = self.model.above(entry.txid)
            assert entry.alone == self.model.total({entry.txid}, self.fees, self.deltas)
            assert entry.ancestors == self.model.total(above, self.fees, self.deltas)
            assert entry.descendants == self.model.total(below, self.fees, self.deltas)
            assert entry.time == self.model.times[entry.txid]

    @invariant()
    def indexes_find_what_is_there_and_nothing_else(self):
        pool = self.world.mempool.pool
        assert sorted(map(id, pool.by_script(KEY.script))) == sorted(map(id, pool.entries()))
        assert pool.by_script(Key(2).script) == []
        for entry in pool.entries():
            assert pool.get_by_wtxid(entry.wtxid) is entry
            for txin, coin in zip(entry.transaction.inputs, entry.coins, strict=True):
                assert pool.spender(txin.outpoint) is entry
                confirmed = self.world.coins.get(txin.outpoint)
                assert coin == (confirmed or pool.coin(txin.outpoint))
        assert len(pool._spenders) == sum(len(e.transaction.inputs) for e in pool.entries())

    @invariant()
    def deltas_are_the_models(self):
        given = {txid: grains for txid, grains in self.deltas.items() if grains}
        assert self.world.mempool.deltas.all() == given

    @invariant()
    def the_lowest_rate_of_all_is_evicted_next(self):
        entries = self.world.mempool.pool.entries()
        if entries:
            lowest = self.world.mempool._queue.lowest(self.world.mempool.pool)
            assert _worth(lowest) == min(map(_worth, entries))

    @invariant()
    def all_but_what_counts_for_less_than_nothing_makes_a_valid_block(self):
        chosen = tuple(select(self.world.mempool.pool, TEMPLATE_ROOM))
        if not any(grains < 0 for grains in self.deltas.values()):
            assert len(chosen) == self.world.mempool.pool.count
        template = Template(REGTEST, self.world.tip, KEY.script, chosen, self.world.now)
        assert find_invalid_entry(template, self.world.coins) is None


def _worth(entry: PoolEntry) -> int:
    """What an entry is kept for: its own rate, or its descendants' if they pay for it."""
    packages = (entry.alone, entry.descendants)
    return max(one.modified_fees * 2**32 // one.vsize for one in packages)


MempoolMachine.TestCase.settings = settings(stateful_step_count=40)
TestMempoolMachine = MempoolMachine.TestCase
assert COIN > FEE * 1000, "a coin pays for many transactions in a row"
