"""The cache of deep transactions: never wrong, never needed."""

import sqlite3
import stat
import subprocess
import sys
from contextlib import closing

import pytest

from chain.primitives.numbers import Height
from chain.primitives.transaction import Transaction, TxIn, TxOut
from tests.builders import ChainBuilder
from tests.wallet.esplora_stub import PAGE, RegtestChain, serving
from wallet.esplora import Esplora, SeenTransaction
from wallet.history.cache import DEPTH, Anchor, Cache, CachedHistory
from wallet.keys.account import Keychain

# As in test_files: killed at every call into C of a save; then all of it is there, or nothing.
KILLER = """
import os, signal, sys
from pathlib import Path
from tests.wallet.history.test_cache import *
path = Path(sys.argv[1])
cache, at, survived, counts = Cache(path, "http://a/api"), 0, False, {1: 0, 3: 0}
first, later = Anchor(Height(1), TIP_ID), Anchor(Height(3), TIP_ID)
node = chain_of(h1=TIP_ID, h3=TIP_ID)
while not survived:
    at += 1
    path.unlink(missing_ok=True)
    cache.save(CachedHistory(), deep(1), [SCRIPT], first)
    child = os.fork()
    if not child:
        left = at
        def strike(frame, event, argument):
            global left
            if event == "c_call":
                left -= 1
                if not left:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.setprofile(strike)
        cache.save(CachedHistory(tuple(deep(1)), {}, 1), deep(1, 2, 3), [SCRIPT], later)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    survived = os.waitstatus_to_exitcode(status) == 0
    kept = cache.load(node, Height(9))
    counts[len(kept.seen)] += 1
    assert kept.complete_to == {SCRIPT: len(kept.seen)}
print(at, counts[1], counts[3])
"""
TIP_ID = b"\x01" * 32
SCRIPT = b"\x00\x14" + bytes(20)


def coinbase(number):
    return Transaction(2, [TxIn(bytes(36), b"%d" % number)], [TxOut(50, SCRIPT)])


def deep(*heights):
    return [SeenTransaction(coinbase(height), Height(height), 1000 + height) for height in heights]


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache.sqlite", "http://a/api")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cache.sqlite"


def chain_of(**ids):
    """A node's best chain that knows the block ids at some heights."""
    return lambda height: ids.get(f"h{height}", b"\xff" * 32)


def folder_of(cli):
    return cli.datadir / "regtest" / "wallets" / "default"


def pages_asked(stub):
    asked = sum(path.endswith("/txs") or "/chain/" in path for _, path, _ in stub.requests)
    stub.requests.clear()
    return asked


def test_what_was_kept_is_read_back_with_height_time_and_scripts(cache):
    assert cache.load(chain_of(), Height(9)) == CachedHistory()
    cache.save(CachedHistory(), deep(1, 5), [SCRIPT], Anchor(Height(5), TIP_ID))
    kept = cache.load(chain_of(h5=TIP_ID), Height(9))
    assert sorted(kept.seen, key=lambda each: each.height) == deep(1, 5)
    assert kept.complete_to == {SCRIPT: 5}
    assert kept.generation == 1


@pytest.mark.parametrize(("height", "count"), [(4, 1), (5, 1), (6, 0), (None, 0)])
def test_only_what_is_at_or_below_the_anchor_is_kept(cache, height, count):
    seen = [SeenTransaction(coinbase(1), height, height)]
    cache.save(CachedHistory(), seen, [SCRIPT], Anchor(Height(5), TIP_ID))
    assert len(cache.load(chain_of(h5=TIP_ID), Height(9)).seen) == count


def test_reorganisation_drops_what_was_above_the_last_common_anchor(cache):
    low, high = b"\x02" * 32, b"\x03" * 32
    cache.save(CachedHistory(), deep(1, 5), [SCRIPT], Anchor(Height(5), low))
    before = cache.load(chain_of(h5=low), Height(20))
    cache.save(before, deep(1, 5, 6, 9), [SCRIPT, b"new"], Anchor(Height(9), high))
    kept = cache.load(chain_of(h5=low, h9=b"\x04" * 32), Height(20))
    assert sorted(each.height for each in kept.seen) == [1, 5]
    assert kept.complete_to == {SCRIPT: 5, b"new": 5}
    nothing = cache.load(chain_of(), Height(20))
    assert nothing.seen == ()
    assert nothing.complete_to == {SCRIPT: -1, b"new": -1}


def test_anchor_above_the_tip_is_not_asked_for(cache):
    cache.save(CachedHistory(), deep(1), [SCRIPT], Anchor(Height(5), TIP_ID))
    assert cache.load(chain_of(h5=TIP_ID), Height(4)).seen == ()


def test_another_node_is_not_believed_what_the_first_one_told(cache, path):
    cache.save(CachedHistory(), deep(1), [SCRIPT], Anchor(Height(5), TIP_ID))
    assert Cache(path, "http://b/api").load(chain_of(h5=TIP_ID), Height(9)) == CachedHistory()
    assert cache.load(chain_of(h5=TIP_ID), Height(9)) == CachedHistory(), (
        "the second one took its place"
    )


def test_writer_who_was_overtaken_keeps_nothing(cache):
    stale = cache.load(chain_of(), Height(9))
    cache.save(CachedHistory(), deep(1), [SCRIPT], Anchor(Height(5), TIP_ID))
    cache.save(stale, deep(2), [SCRIPT], Anchor(Height(3), TIP_ID))
    assert [each.height for each in cache.load(chain_of(h5=TIP_ID), Height(9)).seen] == [1]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE transactions SET raw = X'00'",
        "UPDATE transactions SET txid = zeroblob(32)",
        "UPDATE transactions SET raw = (SELECT X'03' || substr(raw, 2) FROM transactions)",
        "DROP TABLE anchors",
    ],
)
def test_damaged_rows_are_found_and_the_cache_starts_again(cache, path, damage):
    cache.save(CachedHistory(), deep(1), [SCRIPT], Anchor(Height(5), TIP_ID))
    with closing(sqlite3.connect(path, isolation_level=None)) as sql:
        sql.execute(damage)
    first = cache.load(chain_of(h5=TIP_ID), Height(9))
    assert first == CachedHistory()
    cache.save(first, deep(1), [SCRIPT], Anchor(Height(5), TIP_ID))
    assert len(cache.load(chain_of(h5=TIP_ID), Height(9)).seen) == 1


def test_file_that_is_no_database_is_replaced(cache, path):
    path.write_bytes(b"something else, longer than the header of a database is" * 9)
    assert cache.load(chain_of(), Height(9)) == CachedHistory()
    assert not path.exists()


def test_busy_cache_is_done_without(cache, path, monkeypatch):
    monkeypatch.setattr("wallet.history.cache._WAIT_S", 0.0)
    cache.save(CachedHistory(), deep(1), [SCRIPT], Anchor(Height(5), TIP_ID))
    with closing(sqlite3.connect(path, isolation_level=None)) as sql:
        sql.execute("BEGIN EXCLUSIVE")
        assert cache.load(chain_of(h5=TIP_ID), Height(9)) == CachedHistory()
        cache.save(CachedHistory(generation=1), deep(2), [SCRIPT], Anchor(Height(5), TIP_ID))
    assert len(cache.load(chain_of(h5=TIP_ID), Height(9)).seen) == 1


def test_kill_at_any_call_of_a_save_leaves_all_or_nothing(path):
    command = [sys.executable, "-c", KILLER, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    tried, old, new = map(int, done.stdout.split())
    assert tried == old + new > 10
    assert old > 1
    assert new >= 1


def test_second_look_asks_for_the_first_pages_only(cli, stub, regtest):
    account = cli.make()
    regtest.mine(account.script(Keychain.RECEIVE, 0), 5 * PAGE)
    before = cli.json("history")
    assert pages_asked(stub) == 21 + 20 + 5
    assert cli.json("history") == before
    assert pages_asked(stub) == 21 + 20
    regtest.mine(account.script(Keychain.RECEIVE, 0), PAGE + DEPTH)
    assert len(cli.json("history")) == 6 * PAGE + DEPTH
    assert pages_asked(stub) == 21 + 20 + 1
    mode = (folder_of(cli) / "cache.sqlite").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_cache_changes_no_answer_and_can_be_deleted(cli, regtest):
    account = cli.make()
    for index in (0, 19, 38, 3):
        regtest.mine(account.script(Keychain.RECEIVE, index), 3)
    regtest.mine(count=100)
    cli.run("balance")
    cli.run("send", account.address(Keychain.RECEIVE, 45), "70", "--yes")
    regtest.mine(count=DEPTH + 1)
    words = ["balance", "history", "utxos"]
    cold = [cli.json(word) for word in words]
    assert [cli.json(word) for word in words] == cold
    (folder_of(cli) / "cache.sqlite").unlink()
    assert [cli.json(word) for word in words] == cold


@pytest.mark.parametrize("depth", [DEPTH - 1, DEPTH + 1, 20])
def test_deep_reorganisation_leaves_nothing_of_the_old_chain(cli, regtest, stub, depth):
    account = cli.make()
    regtest.mine(account.script(Keychain.RECEIVE, 0), 10)
    regtest.mine(account.script(Keychain.RECEIVE, 1), 10)
    assert len(cli.json("history")) == 20
    stub.chain = fork_of(regtest, back=depth)
    stub.chain.mine(account.script(Keychain.RECEIVE, 2), depth + 1)
    found = cli.json("utxos")
    assert len(found) == 21
    places = [coin["address"] for coin in found]
    expected = [account.address(Keychain.RECEIVE, index) for index in range(3)]
    assert [places.count(each) for each in expected] == [
        min(10, 20 - depth),
        max(0, 10 - depth),
        depth + 1,
    ]


def fork_of(chain, back):
    """Another chain that shares all except the last `back` blocks."""
    other = RegtestChain(chain.params)
    for block in chain.builder.blocks[: len(chain.builder.blocks) - back]:
        other.mine(block.transactions[0].outputs[0].script)
    assert isinstance(other.builder, ChainBuilder)
    assert other.builder.tip.id == chain.builder.tip.ancestor(other.builder.tip.height).id
    return other


def test_two_nodes_of_one_wallet_each_give_their_own_answer(cli, regtest):
    account = cli.make()
    regtest.mine(account.script(Keychain.RECEIVE, 0), 30)
    assert len(cli.json("history")) == 30
    with serving(RegtestChain()) as other:
        first, cli.node = cli.node, other.url
        assert cli.json("utxos") == []
        assert {line["status"] for line in cli.json("history", "--dropped")} == {"dropped"}
        cli.node = first
    assert len(cli.json("history")) == 30


def test_history_of_one_address_stops_at_what_is_known(stub, regtest, account):
    script = account.script(Keychain.RECEIVE, 0)
    regtest.mine(script, 3 * PAGE)
    with closing(Esplora(stub.url)) as esplora:
        counts = [len(esplora.history(script, down_to=at)) for at in (2 * PAGE + 1, 2 * PAGE, 0)]
    assert counts == [PAGE, 2 * PAGE, 3 * PAGE]
