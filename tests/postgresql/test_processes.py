"""Real processes on PostgreSQL: what a user starts, how each ends, and no password anywhere."""

import signal
import subprocess
import sys

import pytest

from tests.end_to_end.processes import CLEAN, NodeProcess, wait_until
from tests.end_to_end.test_serve import ADDRESS, ServeProcess
from tests.postgresql_server import USER, new_database, new_server, server_folder

pytestmark = [pytest.mark.slow, pytest.mark.net]


def groat(*arguments):
    command = [sys.executable, "-m", "chain", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, env=CLEAN, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def second_node(folder, url, *more):
    places = ("--p2p", "127.0.0.1:0", "--api", "127.0.0.1:0", "--no-discovery")
    return groat(
        "node", "--network", "regtest", "--datadir", folder, "--database", url, *places, *more
    )


@pytest.fixture
def node_on(tmp_path):
    """Make nodes on a URL, each in a folder of its own."""
    nodes = []

    def made(url, name="node", *more):
        nodes.append(NodeProcess(tmp_path / name, ["--no-discovery", "--database", url, *more]))
        return nodes[-1]

    yield made
    for node in nodes:
        if node.process is not None:
            node.process.send_signal(signal.SIGCONT)
            node.kill()


@pytest.fixture
def node(node_on, url):
    return node_on(url)


@pytest.fixture
def reader_on(tmp_path):
    """Start readers of a URL."""
    readers = []

    def started(url):
        readers.append(ServeProcess(tmp_path / "reader", ("--database", url)))
        return readers[-1].start().ready()

    yield started
    for reader in readers:
        if reader.process.poll() is None:
            reader.end()


@pytest.fixture
def own_server(programs, tmp_path_factory):
    """A server that the test may stop."""
    with server_folder() as folder:
        running = new_server(programs, programs.own(folder / "s"), 1)
        yield running
        running.stop(signal.SIGQUIT)


def last_line(node):
    return node.errors().splitlines()[-1]


def ended(node):
    code = node._wait_for_exit(40)
    assert "Traceback" not in node.errors(), node.errors()
    return code


def test_all_commands_work(node, reader_on, url, tmp_path, server):
    node.start()
    ids = node.mine(110, ADDRESS)
    serve = reader_on(url)
    wait_until(lambda: serve.height == 110, "the reader follows")
    node.rpc("invalidateblock", ids[105])
    assert node.height == 105
    wait_until(lambda: serve.height == 105, "the reader follows backwards")
    node.rpc("reconsiderblock", ids[105])
    common = ("--network", "regtest", "--datadir", str(tmp_path / "other"))
    assert groat("check", *common, "--database", url).returncode == 0, "beside the node"
    assert groat("export", *common, "--database", url, str(tmp_path / "blocks")).returncode == 0
    node.kill()
    assert serve.height == 110, "without a node"
    node.start()
    assert node.tip == ids[-1]
    assert node.stop() == 0
    copy = server.url(new_database(server))
    done = groat("import", *common, "--database", copy, str(tmp_path / "blocks"))
    assert (done.returncode, "imported 110 blocks" in done.stdout) == (0, True)
    assert groat("check", *common, "--database", copy).returncode == 0
    assert serve.end() == 0


def test_a_second_node_is_refused_and_one_that_takes_over_ends_the_first(
    node, node_on, url, tmp_path
):
    node.start()
    node.mine(3, ADDRESS)
    refused = second_node(tmp_path / "second", url)
    assert refused.returncode == 1
    assert "groat: another process is using the database" in refused.stderr.splitlines()[-1]
    assert node.height == 3
    other = node_on(url, "second")
    other.start("--take-over")
    assert ended(node) == 1
    assert last_line(node).startswith("groat: stopped: the ledger failed: ")
    node.process = None
    other.mine(1, ADDRESS)
    assert other.height == 4
    assert other.stop() == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL])
def test_a_server_that_stops_ends_the_node_in_one_line_and_a_reader_waits_for_it(
    own_server, node_on, reader_on, tmp_path, how
):
    url = own_server.url(new_database(own_server))
    node = node_on(url).start()
    ids = node.mine(3, ADDRESS)
    serve = reader_on(url)
    if how == signal.SIGKILL:
        own_server.kill()
    else:
        own_server.stop(how)
    assert ended(node) == 1
    assert last_line(node).startswith("groat: stopped: the ledger failed: ")
    assert serve.get(f"/api/block/{ids[0]}/txids").status_code == 503
    refused = second_node(tmp_path / "node", url)
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith("groat: cannot open the ledger postgresql")
    own_server.start()
    node.start()
    assert node.tip == ids[-1]
    wait_until(lambda: serve.get(f"/api/block/{ids[0]}/txids").is_success, "the reader is back")
    node.mine(1, ADDRESS)
    wait_until(lambda: serve.height == 4, "the reader follows")
    assert serve.end() == 0
    assert not [line for line in serve.errors if "Traceback" in line]
    assert node.stop() == 0


def test_a_stopped_node_writes_nothing_after_a_take_over(node, node_on, url):
    """SIGSTOP: as when a machine hangs and comes back."""
    node.start()
    node.mine(3, ADDRESS)
    node.process.send_signal(signal.SIGSTOP)
    other = node_on(url, "second")
    other.start("--take-over")
    tip = other.mine(1, ADDRESS)[0]
    node.process.send_signal(signal.SIGCONT)
    assert ended(node) == 1
    node.process = None
    assert other.tip == tip
    assert other.stop() == 0


def test_no_password_is_shown_anywhere(own_server, node_on, reader_on, tmp_path):
    own_server.execute(f"ALTER ROLE {USER} PASSWORD 'hush-hush'")
    name = new_database(own_server)
    url = own_server.url(name).replace(f"{USER}@", f"{USER}:hush-hush@")
    node = node_on(url, "node", "--debug", "all")
    node.start()
    node.mine(1, ADDRESS)
    serve = reader_on(url)
    texts = [node.get("/metrics").text, serve.get("/metrics").text, node.get("/health").text]
    refused = second_node(tmp_path / "second", url)
    texts += [refused.stderr, refused.stdout]
    own_server.kill()
    texts += [serve.get("/api/blocks/tip/height").text]
    ended(node)
    serve.end()
    texts += [node.errors(), *node.output, *serve.errors]
    for done in (second_node(tmp_path / "second", url), groat("check", "--database", url)):
        texts += [done.stderr, done.stdout]
    texts += [path.read_text() for path in tmp_path.rglob("*.log")]
    assert [text for text in texts if "hush" in text] == []
