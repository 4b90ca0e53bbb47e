"""One writer: a second is refused, a replaced one writes nothing, commits are certain."""

import pytest
from sqlalchemy.exc import DBAPIError

from chain.ledger.db.engine import write_rows
from chain.ledger.errors import DatabaseFailedError, FencedError, LedgerError, LockedError
from chain.ledger.ledger import Ledger
from tests.ledger.chains import NOW, QUICK, feed, quick_chain
from tests.postgresql_server import USER


def open_ledger(url, **how):
    return Ledger(url, QUICK, verify_threads=1, **how)


@pytest.fixture
def chain():
    return quick_chain(4)


@pytest.fixture
def ledger(url, chain):
    ledger = open_ledger(url)
    feed(ledger, chain.blocks[:2])
    yield ledger
    ledger.close()


def backends(server, database):
    """The connections that writers have."""
    return server.execute(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'groat node'"
        f" AND datname = '{database}'"
    )


def test_a_second_writer_is_refused_in_one_line_with_what_to_do(ledger, url, monkeypatch):
    monkeypatch.setattr("chain.ledger.db.postgresql.writer.LOCK_WAIT_S", 0.1)
    with pytest.raises(LockedError) as caught:
        open_ledger(url)
    assert str(caught.value).startswith("another process is using the database (connected from")
    assert "--take-over" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.slow
def test_a_closed_ledger_can_be_opened_again_at_once(ledger, url):
    ledger.close()
    open_ledger(url).close()


def test_who_takes_over_goes_on_and_who_was_replaced_writes_nothing(ledger, url, chain):
    before = ledger.version
    second = open_ledger(url, take_over=True)
    try:
        assert second.tip.id == chain.blocks[1].id
        assert second.version.counter == before.counter + 1
        with pytest.raises(DatabaseFailedError, match="cannot be written") as caught:
            ledger.add_block(chain.blocks[2], NOW)
        assert len(str(caught.value).splitlines()) == 1
        assert not ledger.is_usable
        second.add_block(chain.blocks[2], NOW)
        second.add_block(chain.blocks[3], NOW)
    finally:
        second.close()


def test_a_transaction_of_another_epoch_writes_nothing_even_with_the_lock(
    ledger, server, database, chain
):
    server.execute("UPDATE node_state SET value = 'other' WHERE name = 'epoch'", database)
    with pytest.raises(FencedError, match="another node has taken over"):
        ledger.add_block(chain.blocks[2], NOW)
    assert not ledger.is_usable
    assert server.execute("SELECT max(height) FROM chain", database) == [(2,)]


@pytest.mark.slow
def test_a_writer_of_a_version_that_a_backup_brought_back_is_fenced(ledger, server, database):
    server.execute("DELETE FROM node_state WHERE name = 'epoch'", database)
    with pytest.raises(FencedError):
        ledger.note({"heartbeat": b"1"})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "shown"),
    [
        ("synchronous_commit", "on"),
        ("statement_timeout", "0"),
        ("lock_timeout", "10s"),
        ("transaction_isolation", "read committed"),
        ("transaction_read_only", "off"),
    ],
)
def test_a_servers_defaults_do_not_weaken_the_writer(server, database, url, setting, shown):
    server.execute(f"ALTER DATABASE {database} SET default_transaction_isolation = serializable")
    server.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    server.execute(f"ALTER DATABASE {database} SET synchronous_commit = off")
    server.execute(f"ALTER DATABASE {database} SET statement_timeout = '100ms'")
    ledger = open_ledger(url)
    ledger.read(lambda c: c.exec_driver_sql("SELECT 1 FROM pg_sleep(0.2)"))
    assert ledger.read(lambda c: c.exec_driver_sql(f"SHOW {setting}").scalar()) == shown
    ledger.close()


@pytest.mark.slow
def test_only_what_lies_between_blocks_is_committed_without_waiting_for_the_disk(ledger, chain):
    seen = []
    writer = ledger._pipeline._writer

    def setting():
        return writer.connection.exec_driver_sql("SHOW synchronous_commit").scalar()

    commit = writer.commit
    writer.commit = lambda last: (seen.append(setting()), commit(last))
    ledger.save(is_durable=False)
    ledger.add_block(chain.blocks[2], NOW)
    ledger.save(is_durable=True)
    assert seen == ["off", "on", "on"]


def test_a_notice_at_commit_is_a_failure(ledger, server, database, chain):
    """As when the wait for a synchronous standby is cancelled: the commit may not survive."""
    server.execute(
        "CREATE FUNCTION warn() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN RAISE WARNING 'canceling wait for synchronous replication'; RETURN NULL; END$$",
        database,
    )
    server.execute(
        "CREATE CONSTRAINT TRIGGER warn AFTER INSERT ON chain DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION warn()",
        database,
    )
    with pytest.raises(DatabaseFailedError, match="COMMIT is not certain: canceling wait"):
        ledger.add_block(chain.blocks[2], NOW)
    assert not ledger.is_usable


@pytest.mark.slow
def test_a_failed_transaction_is_not_committed_as_if_it_were_whole(ledger):
    """PostgreSQL answers COMMIT by ROLLBACK then, without an error."""
    connection = ledger._pipeline._writer.connection
    connection.begin()
    with pytest.raises(DBAPIError):
        connection.exec_driver_sql("SELECT 1 / 0")
    with pytest.raises(DBAPIError, match="a failed transaction cannot be committed"):
        connection.commit()


@pytest.mark.slow
def test_a_connection_that_is_lost_is_one_line(ledger, server, database, chain):
    [(pid,)] = backends(server, database)
    server.execute(f"SELECT pg_terminate_backend({pid}, 5000)")
    with pytest.raises(DatabaseFailedError) as caught:
        ledger.add_block(chain.blocks[2], NOW)
    assert len(str(caught.value).splitlines()) == 1
    assert not ledger.is_usable


@pytest.mark.slow
@pytest.mark.parametrize(
    ("of", "why"),
    [
        (lambda s: s.url("nosuch"), 'database "nosuch" does not exist'),
        (lambda s: s.url("postgres", port="9"), "No such file or directory"),
        (lambda s: s.url("postgres", port="9", connect_timeout="x"), "connect_timeout"),
        (lambda s: s.url("postgres", nonsense="1"), "nonsense"),
        (lambda s: s.url("postgres").replace(USER, "nobody:hush"), 'role "nobody" does not exist'),
    ],
)
def test_a_database_that_cannot_be_opened_is_one_line_without_a_password(server, of, why):
    with pytest.raises(LedgerError, match=why) as caught:
        open_ledger(of(server))
    assert len(str(caught.value).splitlines()) == 1
    assert "hush" not in str(caught.value)


@pytest.mark.slow
def test_a_database_with_other_tables_is_left_alone(server, database, url):
    server.execute("CREATE TABLE mine (a int)", database)
    with pytest.raises(LedgerError, match="tables that are not groat's"):
        open_ledger(url)


def test_who_is_replaced_between_lock_and_commit_writes_nothing(ledger, url, chain):
    """As if it had been stopped there: it holds the row of the epoch."""
    connection = ledger._pipeline._writer.connection
    connection.begin()
    write_rows(connection, "DELETE FROM chain WHERE height = ?", [(2,)])
    second = open_ledger(url, take_over=True)
    try:
        with pytest.raises(DBAPIError, match="terminat"):
            connection.commit()
        second.add_block(chain.blocks[2], NOW)
        assert second.tip.height == 3
    finally:
        second.close()
