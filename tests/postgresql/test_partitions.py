"""packaging/postgresql/partition.sql: the ledger is the same afterwards, and grows on."""

import psycopg
import pytest

from chain.ledger.ledger import Ledger
from chain.ledger.offline.checking import check_ledger
from chain.ledger.reader import open_reader
from tests.end_to_end.processes import NodeProcess, wait_until
from tests.end_to_end.test_serve import ADDRESS, ServeProcess
from tests.ledger.chains import QUICK, feed, grow_busy, quick_chain
from tests.packaging.places import PACKAGING
from tests.postgresql.answers import answers
from tests.postgresql.test_processes import groat

pytestmark = pytest.mark.slow
SCRIPT = (PACKAGING / "postgresql" / "partition.sql").read_text()
DIVIDED = ["blocks", "history", "undo"]


@pytest.fixture
def chain():
    chain = quick_chain()
    grow_busy(chain, 9, seed=5)
    return chain


def open_ledger(url, **how):
    return Ledger(url, QUICK, verify_threads=1, **how)


@pytest.fixture
def made(url, chain):
    """The URL of a ledger with many payments."""
    ledger = open_ledger(url)
    feed(ledger, chain.blocks)
    ledger.close()
    return url


def told(url, chain):
    reader = open_reader(url)
    try:
        with reader.snapshot() as snapshot:
            return list(answers(snapshot, chain))
    finally:
        reader.close()


def partitioned(server, database):
    query = "SELECT relname FROM pg_class WHERE relkind = 'p' ORDER BY relname"
    return [name for (name,) in server.execute(query, database)]


def test_a_divided_ledger_tells_the_same_and_grows_on(made, server, database, chain, tmp_path):
    server.execute("CREATE ROLE dividing LOGIN", database)
    server.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO dividing", database)
    before = told(made, chain)
    server.execute(SCRIPT, database)
    assert partitioned(server, database) == DIVIDED
    assert told(made, chain) == before
    assert told(made.replace("groat@", "dividing@"), chain) == before, "with the rights of before"
    check = check_ledger(made, QUICK, verify_threads=1, folder=tmp_path)
    assert check.problems == []
    branch = chain.fork(2)
    branch.grow(3)
    ledger = open_ledger(made)
    feed(ledger, branch.blocks)
    assert ledger.tip.id == branch.tip.id
    ledger.close()
    assert check_ledger(made, QUICK, verify_threads=1, folder=tmp_path).problems == []
    sizes = "SELECT count(*), count(DISTINCT tableoid) FROM history"
    [(rows, parts)] = server.execute(sizes, database)
    assert rows > 50
    assert parts > 1, "as its scripts are"
    stored = "SELECT DISTINCT attstorage FROM pg_attribute WHERE attrelid = 'blocks_3'::regclass"
    assert server.execute(f"{stored} AND attname = 'raw'", database) == [("e",)]


def test_a_second_run_changes_nothing_and_a_first_may_be_cut_after_any_table(
    made, server, database, chain
):
    before = told(made, chain)
    with server.connect(database) as connection:
        connection.execute("SET groat.partitions = 4")
        connection.execute("CREATE TABLE undo_new (in_the_way int)")
        with pytest.raises(psycopg.errors.DuplicateTable):
            connection.execute(SCRIPT)
    assert partitioned(server, database) == ["blocks", "history"]
    assert told(made, chain) == before
    server.execute("DROP TABLE undo_new", database)
    for _ in range(2):
        server.execute(SCRIPT, database)
        assert partitioned(server, database) == DIVIDED
    assert told(made, chain) == before
    [(parts,)] = server.execute(
        "SELECT count(*) FROM pg_inherits WHERE inhparent = 'blocks'::regclass", database
    )
    assert parts == 4


@pytest.mark.parametrize("what", ["node", "reader"])
def test_a_ledger_in_use_is_not_divided(made, server, database, what):
    user = open_ledger(made) if what == "node" else open_reader(made)
    if what == "reader":
        with user.snapshot():
            pass
    with pytest.raises(psycopg.errors.RaiseException, match=f"{what}.* use.* this database"):
        server.execute(SCRIPT, database)
    assert partitioned(server, database) == []
    user.close()


@pytest.mark.net
def test_node_serve_and_check_work_on_a_divided_database(url, server, database, tmp_path):
    node = NodeProcess(tmp_path / "node", ["--no-discovery", "--database", url]).start()
    ids = node.mine(105, ADDRESS)
    assert node.stop() == 0
    server.execute(SCRIPT, database)
    node.start()
    serve = ServeProcess(tmp_path / "reader", ("--database", url)).start().ready()
    node.rpc("invalidateblock", ids[-3])
    ids += node.mine(6, ADDRESS)
    wait_until(lambda: serve.get("/api/blocks/tip/hash").text == ids[-1], "the reader follows")
    assert len(serve.get(f"/api/address/{ADDRESS}/txs").json()) == 25
    assert node.stop() == 0
    assert serve.end() == 0
    place = ("--network", "regtest", "--datadir", str(tmp_path / "node"), "--database", url)
    assert groat("check", *place).returncode == 0
