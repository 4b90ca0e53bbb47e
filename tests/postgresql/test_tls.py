"""TLS: what fails on either side is one line that says so, and a reader does not wait for it."""

import datetime
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from chain.ledger.errors import DatabaseURLError, LedgerError, RefusedError
from chain.ledger.ledger import Ledger
from chain.ledger.reader import is_made, open_reader
from tests.end_to_end.processes import CLEAN
from tests.ledger.chains import QUICK, feed, quick_chain
from tests.packaging.places import free_port
from tests.postgresql_server import (
    USER,
    NoPostgresqlError,
    Server,
    find_programs,
    new_database,
    new_server,
    server_folder,
)

pytestmark = pytest.mark.slow
PASSWORD = "hush-hush"
CERTIFIED = "certified"  # a role that logs in by a certificate
RULES = f"""local all all trust
hostssl all {CERTIFIED} all cert
hostssl all {USER} all scram-sha-256
"""
HINT = "a server answers there: check sslmode"


@dataclass(frozen=True)
class Authority:
    """A certificate authority; its files are in a folder."""

    folder: Path
    name: str
    key: ec.EllipticCurvePrivateKey

    @property
    def file(self):
        return self.folder / f"{self.name}.crt"

    def sign(self, file, subject, key, first_day=-1, last_day=1):
        """Write the certificate of a key."""
        now = datetime.datetime.now(datetime.UTC)
        names = [
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, n)]) for n in (subject, self.name)
        ]
        made = (
            x509.CertificateBuilder()
            .subject_name(names[0])
            .issuer_name(names[1])
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=first_day))
            .not_valid_after(now + datetime.timedelta(days=last_day))
            .add_extension(x509.BasicConstraints(file == self.file, None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(subject)]), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        file.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def issue(self, file, subject, *days):
        """Write a key and its certificate, as FILE.key and FILE.crt."""
        key = ec.generate_private_key(ec.SECP256R1())
        plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        place = file.with_suffix(".key")
        place.write_bytes(key.private_bytes(serialization.Encoding.PEM, *plain))
        place.chmod(0o600)
        self.sign(file.with_suffix(".crt"), subject, key, *days)


def authority(folder, name):
    made = Authority(folder, name, ec.generate_private_key(ec.SECP256R1()))
    made.sign(made.file, name, made.key)
    return made


@dataclass(frozen=True)
class Place:
    """A ledger on a server with TLS, and a folder with certificates."""

    server: Server
    folder: Path
    database: str
    port: int

    def url(self, host="localhost", role=USER, **options):
        named = {"sslrootcert": self.folder / "own.crt", "sslmode": "verify-full", **options}
        text = "&".join(f"{name}={value}" for name, value in named.items())
        return f"postgresql+psycopg://{role}@{host}:{self.port}/{self.database}?{text}"

    def certified(self, name, **options):
        """Return the URL of the role that logs in by a certificate."""
        files = {"sslcert": self.folder / f"{name}.crt", "sslkey": self.folder / f"{name}.key"}
        return self.url(role=CERTIFIED, **{**files, **options})

    def show(self, name):
        """Have the server show another certificate."""
        for kind in ("crt", "key"):
            give(self.server, self.folder / f"{name}.{kind}", f"server.{kind}")
        self.server.execute("SELECT pg_reload_conf()")
        self.server.execute("SELECT pg_sleep(0.2)")


def give(server, file, name):
    """Copy a file to the server's folder, for the server's user only."""
    copy = server.folder / name
    copy.write_bytes(file.read_bytes())
    copy.chmod(0o600)
    os.chown(copy, server.folder.stat().st_uid, -1)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    own, other = authority(folder, "own"), authority(folder, "other")
    own.issue(folder / "server", "localhost")
    own.issue(folder / "expired", "localhost", -3, -1)
    own.issue(folder / "client", CERTIFIED)
    own.issue(folder / "late", CERTIFIED, -3, -1)
    other.issue(folder / "foreign", CERTIFIED)
    (folder / "loose.crt").write_bytes((folder / "client.crt").read_bytes())
    (folder / "loose.key").write_bytes((folder / "client.key").read_bytes())
    (folder / "loose.key").chmod(0o644)
    with server_folder() as home:
        try:
            programs = find_programs(home, with_tls=True)
        except NoPostgresqlError:
            pytest.skip("no PostgreSQL with TLS: apt-get install postgresql")
        port = free_port()
        inner = programs.own(home / "s")
        server = new_server(programs, inner, port, listen_addresses="'127.0.0.1'")
        database = new_database(server)
        server.execute(f"ALTER ROLE {USER} PASSWORD '{PASSWORD}'")
        server.execute(f"CREATE ROLE {CERTIFIED} LOGIN SUPERUSER")
        (server.data / "pg_hba.conf").write_text(RULES)
        give(server, own.file, "root.crt")
        for name, file in (("cert", "server.crt"), ("key", "server.key"), ("ca", "root.crt")):
            server.execute(f"ALTER SYSTEM SET ssl_{name}_file = '{server.folder / file}'")
        server.execute("ALTER SYSTEM SET ssl = on")
        made = Place(server, folder, database, port)
        made.show("server")
        ledger = Ledger(server.url(database), QUICK, verify_threads=1)
        feed(ledger, quick_chain(1).blocks)
        ledger.close()
        yield made
        server.stop(signal.SIGQUIT)


@pytest.fixture(autouse=True)
def own_logins(monkeypatch, tmp_path):
    """No password but the one that a test gives, and no certificate of this machine's user."""
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PGPASSWORD", PASSWORD)


def failures(url):
    """Yield how a writer and readers fail at a URL."""
    for use in (
        lambda: Ledger(url, QUICK, verify_threads=1).close(),
        lambda: open_reader(url).close(),
        lambda: is_made(url),
    ):
        with pytest.raises(LedgerError) as caught:
            use()
        text = str(caught.value)
        assert len(text.splitlines()) == 1, text
        assert PASSWORD not in text
        yield caught.value


@pytest.mark.parametrize(
    "of",
    [
        lambda p: p.url(),
        lambda p: p.url(sslmode="verify-ca"),
        lambda p: p.url("127.0.0.1", sslmode="verify-ca"),
        lambda p: p.url(sslmode="require"),
        lambda p: p.url(channel_binding="require"),
        lambda p: p.certified("client"),
    ],
)
def test_a_ledger_is_used_through_tls(place, of):
    reader = open_reader(of(place))
    with reader.snapshot() as snapshot:
        assert snapshot.tip_height == 1
    reader.close()
    Ledger(of(place), QUICK, verify_threads=1).close()


@pytest.mark.parametrize(
    ("of", "why"),
    [
        (lambda p: p.url(sslrootcert=p.folder / "other.crt"), "certificate verify failed"),
        (lambda p: p.url("127.0.0.1"), 'does not match host name "127.0.0.1"'),
        (lambda p: p.url(sslrootcert=p.folder / "none.crt"), "does not exist"),
        (lambda p: p.url(sslrootcert=p.folder / "server.key"), "could not read root certificate"),
        (lambda p: p.certified("foreign"), "unknown ca"),
        (lambda p: p.certified("late"), "expired"),
        (lambda p: p.certified("loose"), "has group or world access"),
        (lambda p: p.certified("client", sslkey=p.folder / "none.key"), "not private key file"),
        (lambda p: p.certified("client", sslkey=p.folder / "foreign.key"), "mismatch"),
    ],
)
def test_tls_that_fails_at_a_server_that_is_there_is_a_refusal(place, of, why):
    for error in failures(of(place)):
        assert isinstance(error, RefusedError), error
        assert why in str(error)
        assert HINT in str(error)


def test_a_server_whose_certificate_has_expired_is_refused_but_not_by_require(place):
    place.show("expired")
    try:
        for error in failures(place.url()):
            assert isinstance(error, RefusedError)
            assert "certificate verify failed" in str(error)
        # With the file of an authority, sslmode=require verifies, too.
        assert is_made(place.url(sslmode="require", sslrootcert=place.folder / "none.crt"))
    finally:
        place.show("server")


@pytest.mark.parametrize(
    ("of", "why"),
    [
        (lambda p: p.url(sslmode="disable"), "no encryption"),
        (lambda p: p.url(role=CERTIFIED), "requires a valid client certificate"),
    ],
)
def test_what_the_server_refuses_has_its_words_only(place, of, why):
    for error in failures(of(place)):
        assert isinstance(error, RefusedError), error
        assert why in str(error)
        assert HINT not in str(error)


def test_a_server_without_tls_is_told_from_one_that_is_away(place):
    place.server.execute("ALTER SYSTEM SET ssl = off")
    place.show("server")
    try:
        for error in failures(place.url()):
            assert isinstance(error, RefusedError)
            assert "does not support SSL" in str(error)
            assert HINT in str(error)
    finally:
        place.server.execute("ALTER SYSTEM SET ssl = on")
        place.show("server")


def test_a_service_file_names_everything(place, tmp_path, monkeypatch):
    file = tmp_path / "services"
    common = f"host=localhost\nport={place.port}\nuser={USER}\ndbname={place.database}\n"
    common += f"password={PASSWORD}\nsslmode=verify-full\nsslrootcert={place.folder}"
    file.write_text(f"[right]\n{common}/own.crt\n[wrong]\n{common}/other.crt\n")
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    monkeypatch.delenv("PGPASSWORD")
    assert is_made("postgresql+psycopg://?service=right")
    for error in failures("postgresql+psycopg://?service=wrong"):
        assert isinstance(error, RefusedError)
    monkeypatch.setenv("PGSERVICE", "right")
    assert is_made("postgresql+psycopg://")
    monkeypatch.setenv("PGSERVICE", "nosuch")
    for error in failures("postgresql+psycopg://"):
        assert isinstance(error, DatabaseURLError)


def test_a_password_comes_from_a_file_that_only_its_owner_reads(place, tmp_path, monkeypatch):
    file = tmp_path / "passwords"
    file.write_text(f"localhost:*:*:{USER}:{PASSWORD}\n")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))
    monkeypatch.delenv("PGPASSWORD")
    assert is_made(place.url())
    file.chmod(0o644)
    for error in failures(place.url()):
        assert isinstance(error, RefusedError)
        assert "(PGPASSFILE, readable by its owner only)" in str(error)


@pytest.mark.net
def test_a_reader_that_does_not_trust_the_server_ends_with_a_line(place, tmp_path):
    command = [sys.executable, "-m", "chain", "serve", "--network", "regtest"]
    command += ["--datadir", str(tmp_path / "data"), "--api", "127.0.0.1:0"]
    command += ["--database", place.url(sslrootcert=place.folder / "other.crt")]
    environment = {**CLEAN, "PGPASSWORD": PASSWORD}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("groat: stopped: cannot open the ledger ")
    assert HINT in done.stderr
    assert PASSWORD not in done.stderr
    assert not (tmp_path / "data").exists()
