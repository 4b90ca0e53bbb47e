"""What docs/operations.md says about roles, backups and the size."""

import pytest

from chain.ledger.errors import LedgerError
from chain.ledger.ledger import Ledger
from chain.ledger.offline.checking import check_ledger
from chain.ledger.reader import open_reader
from tests.ledger.chains import QUICK, feed, quick_chain
from tests.postgresql_server import USER, new_database

pytestmark = pytest.mark.slow


@pytest.fixture
def chain():
    return quick_chain(4)


@pytest.fixture
def made(url, chain):
    """The URL of a ledger."""
    ledger = Ledger(url, QUICK, verify_threads=1)
    feed(ledger, chain.blocks)
    ledger.close()
    return url


def test_a_role_that_may_only_read_is_enough_for_a_reader_and_no_more(
    made, server, database, chain, tmp_path
):
    server.execute("CREATE ROLE reader LOGIN", database)
    server.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader", database)
    url = made.replace(f"{USER}@", "reader@")
    reader = open_reader(url)
    with reader.snapshot() as snapshot:
        assert snapshot.tip_id == chain.tip.id
    reader.close()
    assert check_ledger(url, QUICK, verify_threads=1, folder=tmp_path).problems == []
    with pytest.raises(LedgerError, match="permission denied") as caught:
        Ledger(url, QUICK, verify_threads=1)
    assert len(str(caught.value).splitlines()) == 1


def test_a_dump_is_restored_as_a_ledger_of_a_new_epoch(made, server, database, chain, tmp_path):
    file = server.folder / "dump"
    place = ("-h", server.folder, "-p", str(server.port), "-U", USER)
    server.programs.run("pg_dump", *place, "-Fc", "-f", file, database)
    copy = new_database(server)
    server.programs.run("pg_restore", *place, "-d", copy, file)
    url = server.url(copy)
    assert check_ledger(url, QUICK, verify_threads=1, folder=tmp_path).problems == []
    ledger = Ledger(url, QUICK, verify_threads=1)
    assert (ledger.tip.id, ledger.version.counter) == (chain.tip.id, 2)
    ledger.close()
