"""PgBouncer between groat and the server: readers may use it, the node may not."""

import shutil
import signal
import subprocess
from contextlib import contextmanager

import psycopg
import pytest

from chain.ledger.errors import LedgerError, RefusedError, UnavailableError
from chain.ledger.ledger import Ledger
from chain.ledger.reader import is_made, open_reader
from tests.end_to_end.processes import wait_until
from tests.ledger.chains import QUICK, feed, quick_chain
from tests.packaging.places import free_port
from tests.patience import PATIENCE_S
from tests.postgresql_server import USER

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PGBOUNCER, reason="apt-get install pgbouncer"),
]
READS = 12  # psycopg prepares a statement that was executed five times


@pytest.fixture
def folder(server, tmp_path):
    """A folder of the user who runs the server, as PgBouncer refuses to run as root."""
    place = server.programs.own(server.folder / "bouncer")
    yield place
    shutil.rmtree(place)


@pytest.fixture
def chain(url):
    """A chain in a ledger, which is closed."""
    chain = quick_chain(3)
    ledger = Ledger(url, QUICK, verify_threads=1)
    feed(ledger, chain.blocks)
    ledger.close()
    return chain


@contextmanager
def bouncer(server, folder, port, mode, **settings):
    """Run PgBouncer on a Unix socket; yield its process."""
    lines = {"unix_socket_dir": folder, "listen_port": port, "auth_type": "any"}
    lines |= {"pool_mode": mode, "server_login_retry": 1, **settings}
    text = "\n".join(f"{name} = {value}" for name, value in lines.items())
    target = f"* = host={server.folder} port={server.port} user={USER}"
    file = folder / "pgbouncer.ini"
    file.write_text(f"[databases]\n{target}\n[pgbouncer]\n{text}\n")
    file.chmod(0o644)
    with (folder / "log").open("a") as log:
        process = subprocess.Popen(
            [PGBOUNCER, str(file)], stdout=log, stderr=log, user=server.programs.user, cwd="/"
        )
    socket = folder / f".s.PGSQL.{port}"
    try:
        wait_until(socket.exists, "PgBouncer listens")
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)
        socket.unlink(missing_ok=True)


def through(folder, port, database, **options):
    query = {"host": str(folder), "port": str(port), **options}
    text = "&".join(f"{name}={value}" for name, value in query.items())
    return f"postgresql+psycopg://{USER}@/{database}?{text}"


@pytest.mark.parametrize("mode", ["session", "transaction", "statement"])
def test_a_node_is_refused_in_each_mode_and_leaves_no_setting_behind(
    server, database, folder, chain, mode
):
    port = free_port()
    with bouncer(server, folder, port, mode, default_pool_size=1):
        with pytest.raises(LedgerError, match="leads to a connection pooler, where a lock"):
            Ledger(through(folder, port, database), QUICK, verify_threads=1)
        with psycopg.connect(
            host=str(folder), port=port, user=USER, dbname=database, autocommit=True
        ) as other:
            assert other.execute("SHOW lock_timeout").fetchone() == ("0",)


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_readers_share_few_connections_without_an_option_of_the_url(
    server, database, folder, chain, mode
):
    port = free_port()
    with bouncer(server, folder, port, mode, server_reset_query_always=1):
        assert is_made(through(folder, port, database))
        readers = [open_reader(through(folder, port, database)) for _ in range(2)]
        for _ in range(READS):
            for reader in readers:
                with reader.snapshot() as one, readers[0].snapshot() as two:
                    assert one.tip_id == two.tip_id == chain.tip.id
        for reader in readers:
            reader.close()


def test_a_reader_refuses_a_pooler_without_transactions(server, database, folder, chain):
    port = free_port()
    with bouncer(server, folder, port, "statement"):
        for use in (is_made, open_reader):
            with pytest.raises(RefusedError, match="set its pool mode to session or transaction"):
                use(through(folder, port, database))


def test_a_startup_option_that_the_pooler_does_not_know_is_named(server, database, folder, chain):
    port = free_port()
    url = through(folder, port, database, options="-csearch_path%3Dpublic")
    with (
        bouncer(server, folder, port, "transaction"),
        pytest.raises(RefusedError, match="unsupported startup parameter"),
    ):
        open_reader(url)
    with bouncer(server, folder, port, "transaction", ignore_startup_parameters="options"):
        open_reader(url).close()


def test_a_reader_goes_on_when_the_pooler_is_back(server, database, folder, chain):
    port = free_port()
    with bouncer(server, folder, port, "transaction"):
        reader = open_reader(through(folder, port, database))
        with reader.snapshot() as snapshot:
            assert snapshot.tip_id == chain.tip.id
    with pytest.raises(UnavailableError), reader.snapshot():
        pass
    with bouncer(server, folder, port, "transaction"), reader.snapshot() as snapshot:
        assert snapshot.tip_id == chain.tip.id
    reader.close()
