"""The words alone bring back everything: whatever a person, a server and a disk did before."""

import contextlib
import json
import resource
import tempfile
from functools import cache
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)
from typer.testing import CliRunner

from chain.primitives.numbers import GRAINS_PER_GROAT
from chain.primitives.transaction import TxOut, decode_transaction
from tests.builders import spend
from tests.wallet.conftest import ABANDON, Cli, without_socket
from tests.wallet.esplora_stub import RefusedError, RegtestChain, serving
from wallet.command_line import app
from wallet.keys.account import Keychain
from wallet.store.state import PENDING_AGE_S_MAX

GROAT = GRAINS_PER_GROAT
STRANGER = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
OWN_BLOCKS = 3
STRANGERS_BLOCKS = 12
ADDRESSES = 12  # that others pay to: within the gap limit whatever becomes of the payments
SEEN = {"confirmed", "unconfirmed"}
RATES = st.sampled_from(["1", "2", "5", "30"])


@cache
def base_chain(script):
    """A chain with coins for the wallet and for strangers, all of them mature."""
    chain = RegtestChain()
    chain.mine(script, OWN_BLOCKS)
    chain.mine(count=STRANGERS_BLOCKS)
    chain.mine(count=100)
    return chain


SEEDED = Random()  # chooses coins, so that a run can be repeated


COMPARING = 7  # commands that restore_and_compare makes, which ends every example


class RestoreMachine(RuleBasedStateMachine):
    """A wallet that is used, and one that is restored from its words and must be equal."""

    commands = 0  # that were run by all machines

    def __init__(self):
        super().__init__()
        SEEDED.seed(0)
        self.stack = contextlib.ExitStack()
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.stub = self.stack.enter_context(serving(RegtestChain()))
        self.stack.enter_context(without_socket(self.stub))
        self.cli = Cli(folder, self.stub.url, self.stub.chain)
        self.account = self.cli.make()
        self.chain = base_chain(self.account.script(Keychain.RECEIVE, 0)).fork(0)
        self.restored = 0
        self.coinbases = iter(range(OWN_BLOCKS + 1, OWN_BLOCKS + STRANGERS_BLOCKS + 1))

    def teardown(self):
        with self.stack:
            self.restore_and_compare()

    @property
    def chain(self):
        return self.stub.chain

    @chain.setter
    def chain(self, chain):
        self.stub.chain = chain

    @property
    def folder(self):
        return self.cli.datadir / "regtest" / "wallets" / "default"

    def run(self, *words, codes=(0,), wallet="default", stdin=""):
        """Run a command that may end in several ways; return its result."""
        flags = ["--network", "regtest", "--datadir", str(self.cli.datadir), "-w", wallet]
        flags += ["--node", self.cli.node]
        RestoreMachine.commands += 1
        result = CliRunner().invoke(app, [*flags, *words, "--json"], input=stdin)
        assert result.exit_code in codes, (words, result.output, result.exception)
        assert "Traceback" not in result.output
        return result

    def json(self, *words, **how):
        return json.loads(self.run(*words, **how).stdout)

    def waiting(self):
        return [line for line in self.json("history") if line["status"] == "unconfirmed"]

    @initialize(page=st.sampled_from([5, 10, 25, 50]), is_shared=st.booleans())
    def serve(self, page, is_shared):
        self.stub.page, self.stub.has_shared_budget = page, is_shared

    @rule(page=st.sampled_from([5, 10, 25, 50]), is_shared=st.booleans())
    def another_server(self, page, is_shared):
        self.serve(page, is_shared)

    @rule(grains=st.integers(1000, 20 * GROAT), rate=RATES)
    def pay(self, grains, rate):
        amount = f"{grains / GROAT:.8f}"
        self.run("send", STRANGER, amount, "--fee-rate", rate, "--yes", "--force", codes=(0, 6, 7))

    @rule(at=st.integers(0, ADDRESSES - 1), rate=RATES)
    def pay_to_itself(self, at, rate):
        address = self.account.address(Keychain.RECEIVE, at)
        self.run("send", address, "0.5", "--fee-rate", rate, "--yes", "--force", codes=(0, 6, 7))

    @rule()
    def pay_and_be_refused(self):
        self.stub.override["/api/tx"] = (400, b"no")
        self.run("send", STRANGER, "0.1", "--fee-rate", "2", "--yes", codes=(6, 7))
        self.stub.override.clear()

    @rule(is_taken=st.booleans())
    def pay_and_lose_the_answer(self, is_taken):
        result = self.run("send", STRANGER, "0.1", "--fee-rate", "2", "--dry-run", codes=(0, 6))
        if result.exit_code:
            return
        self.stub.override["/api/tx"] = (502, b"bad gateway")
        self.run("send", STRANGER, "0.1", "--fee-rate", "2", "--yes", codes=(3,))
        self.stub.override.clear()
        if is_taken:
            table = json.loads((self.folder / "state.json").read_text())
            with contextlib.suppress(RefusedError):
                self.chain.accept(decode_transaction(bytes.fromhex(table["pending"][-1][1])))

    @rule(count=st.integers(1, 8))
    def abandon_drafts(self, count):
        for _ in range(count):
            self.run("psbt", "create", STRANGER, "0.2", "--fee-rate", "2", codes=(0, 6))

    @rule(choice=st.integers(0, 50), is_abandoned=st.booleans())
    def bump(self, choice, is_abandoned):
        waiting = self.waiting()
        if waiting:
            txid = waiting[choice % len(waiting)]["txid"]
            how = ["--unsigned"] if is_abandoned else ["--yes"]
            self.run("bump", txid, "--fee-rate", "60", *how, "--force", codes=(0, 2, 6, 7))

    @rule(choice=st.integers(0, 50), is_abandoned=st.booleans())
    def cpfp(self, choice, is_abandoned):
        waiting = self.waiting()
        if waiting:
            txid = waiting[choice % len(waiting)]["txid"]
            how = ["--unsigned"] if is_abandoned else ["--yes"]
            self.run("cpfp", txid, "--fee-rate", "90", *how, "--force", codes=(0, 2, 3, 6, 7))

    @rule(at=st.integers(0, ADDRESSES - 1), value=st.integers(1, 40))
    def be_paid(self, at, value):
        height = next(self.coinbases, None)
        if height is not None:
            out = TxOut(value * GROAT, self.account.script(Keychain.RECEIVE, at))
            with contextlib.suppress(RefusedError):  # spent in a branch that lost and was kept
                self.chain.accept(spend([self.chain.builder.coinbase_coin(height)], [out]))

    @rule(count=st.integers(1, 7), at=st.one_of(st.none(), st.integers(0, ADDRESSES - 1)))
    def mine(self, count, at):
        self.chain.mine(count=count - 1)
        if at is None:
            self.chain.mine()
        else:
            self.chain.mine(self.account.script(Keychain.RECEIVE, at))

    @rule(back=st.integers(1, 12), forget=st.booleans(), mark=st.binary(min_size=2, max_size=2))
    def reorganise(self, back, forget, mark):
        """Another branch wins; what was in the loser waits again, or is gone."""
        before = self.chain
        back = min(back, before.builder.tip.height - OWN_BLOCKS - STRANGERS_BLOCKS - 100)
        if back < 1:
            return
        other = before.fork(back, mark)
        lost = [tx for block in before.builder.blocks[-back:] for tx in block.transactions[1:]]
        for tx in [] if forget else [*lost, *before.mempool.values()]:
            with contextlib.suppress(RefusedError):
                other.accept(tx)
        held = list(other.mempool.values())
        other.mempool.clear()
        other.mine(count=back + 1)
        for tx in held:
            other.accept(tx)
        self.chain = other

    @rule()
    def forget_what_waits(self):
        """The server starts again, without its mempool."""
        self.chain.mempool.clear()

    @rule(name=st.sampled_from(["state.json", "cache.sqlite"]))
    def lose_a_file(self, name):
        (self.folder / name).unlink(missing_ok=True)

    @rule()
    def run_out_of_disk(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        count = len(self.chain.mempool)
        try:
            self.run("send", STRANGER, "0.3", "--fee-rate", "2", "--yes", codes=(5, 6))
            self.run("balance")
            self.run("address", "--new")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert len(self.chain.mempool) == count

    @rule(is_new=st.booleans())
    def ask_for_an_address(self, is_new):
        self.run("address", *(["--new"] if is_new else []))

    @rule(back=st.integers(0, 40))
    def rescan(self, back):
        self.run("rescan", "--from", str(max(self.chain.builder.tip.height - back, 0)))

    @rule()
    def restore_and_compare(self):
        self.let_ten_minutes_pass()
        self.restored += 1
        name = f"again{self.restored}"
        self.run("restore", "--no-password", wallet=name, stdin=ABANDON)
        for words in (["balance"], ["utxos"]):
            assert self.json(*words) == self.json(*words, wallet=name)
        mine, theirs = (self.history(wallet) for wallet in ("default", name))
        assert mine["confirmed"] == theirs["confirmed"]
        assert sorted(mine["unconfirmed"]) == sorted(theirs["unconfirmed"])

    def history(self, wallet):
        lines = [line for line in self.json("history", wallet=wallet) if line["status"] in SEEN]
        return {
            status: [json.dumps(line) for line in lines if line["status"] == status]
            for status in SEEN
        }

    def let_ten_minutes_pass(self):
        """Then what the server never showed counts no longer."""
        path = self.folder / "state.json"
        if path.exists():
            table = json.loads(path.read_text())
            for each in table["pending"]:
                each[0] -= PENDING_AGE_S_MAX + 1
            path.write_text(json.dumps(table))


if settings.default.derandomize:
    # Else each change of the class would choose other commands, and perhaps hardly any.
    seed(5)(RestoreMachine)


@pytest.fixture
def _seeded(monkeypatch):
    monkeypatch.setattr("wallet.commands.send.RANDOM", SEEDED)


@pytest.mark.usefixtures("_seeded")
@pytest.mark.parametrize(
    ("steps", "examples"),
    [
        pytest.param(5, 2, id="few"),
        pytest.param(300, 2, id="many", marks=pytest.mark.slow),
    ],
)
def test_words_bring_back_balance_and_history_after_any_commands(steps, examples):
    before = RestoreMachine.commands
    how = settings(
        stateful_step_count=steps,
        max_examples=examples,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],  # to shrink 300 commands takes hours
    )
    run_state_machine_as_test(RestoreMachine, settings=how)
    # The first example is the simplest: of rules that make no command.
    assert RestoreMachine.commands - before >= COMPARING * examples + steps // 2
