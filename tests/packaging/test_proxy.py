"""nginx and Caddy in front of a real node, with their files from packaging/: TLS, and no buffering.

Only ports, the certificate and the node's address are replaced.
"""

import datetime
import http.client
import os
import re
import socket
import ssl
import subprocess
import sys
from contextlib import closing, contextmanager

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from chain.consensus.params import REGTEST
from chain.network_file import PORTS
from chain.primitives.address import script_address
from tests.builders import KEY
from tests.end_to_end.processes import NodeProcess, wait_until
from tests.packaging.places import HOST, PACKAGING, free_port, needs
from tests.patience import PATIENCE_S

NGINX = PACKAGING / "proxy" / "nginx.conf"
CADDY = PACKAGING / "proxy" / "Caddyfile"
FIREWALL = PACKAGING / "firewall" / "groat.nft"
UPSTREAM = f"127.0.0.1:{PORTS['main'].api}"
ADDRESS = script_address(KEY.script, REGTEST.address_prefixes)
# What no client may reach through the proxy, however it writes the path.
INSIDE = [
    *(("POST", path) for path in ("/", "//", "/rpc", "//rpc", "/wallet/x", "/rpc?/api/tx")),
    *(("POST", f"{path}/rpc") for path in ("/api/..", "/api/%2e%2e", "/api/tx/../..", "/.")),
    *(("GET", path) for path in ("/metrics", "//metrics", "/x/../metrics", "/%6detrics")),
    ("PUT", "/"),
    ("DELETE", "/api/tx/.."),
]


@pytest.mark.parametrize("file", [NGINX, CADDY], ids=lambda file: file.name)
def test_a_proxy_asks_the_node_where_it_listens_by_default(file):
    assert len(re.findall(re.escape(UPSTREAM), file.read_text())) == 1


def test_the_firewall_opens_the_peer_port_and_not_the_api():
    rules = [line for line in FIREWALL.read_text().splitlines() if "dport" in line]
    opened = {int(number) for rule in rules for number in re.findall(r"\b\d+\b", rule)}
    assert PORTS["main"].p2p in opened
    assert PORTS["main"].api not in opened


@needs("nft")
@pytest.mark.skipif(os.geteuid() != 0, reason="nft reads the kernel's tables")
def test_nft_takes_the_firewall(tmp_path):
    command = ["nft", "-c", "-f", str(FIREWALL)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "Operation not" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """The files of a certificate of groat.example, signed by itself, and of its key."""
    folder = tmp_path_factory.mktemp("certificate")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(made.public_bytes(encoding))
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(encoding, form, plain))
    return folder / "cert.pem", folder / "key.pem"


@contextmanager
def started(command, folder):
    with (folder / "proxy.txt").open("w") as output:
        own = {
            f"XDG_{kind}_HOME": str(folder / kind) for kind in ("CONFIG", "DATA")
        }  # Caddy's files
        process = subprocess.Popen(
            command, cwd=folder, stdout=output, stderr=output, env=os.environ | own
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


@contextmanager
def nginx(folder, api, certificate):
    """Run nginx with packaging's file; yield its port."""
    port = free_port()
    text = NGINX.read_text().replace(UPSTREAM, api)
    text = re.sub(r"(?m)^ +listen \[::\].*\n", "", text)
    text = text.replace("listen 443", f"listen 127.0.0.1:{port}")
    text = text.replace("listen 80;", f"listen 127.0.0.1:{free_port()};")
    for kind, file in zip(("fullchain", "privkey"), certificate, strict=True):
        text = text.replace(f"/etc/letsencrypt/live/{HOST}/{kind}.pem", str(file))
    (folder / "groat.conf").write_text(text)
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""  # pytest's folders are the user's own
    (folder / "nginx.conf").write_text(
        f"{user}daemon off;\nworker_processes 1;\npid {folder}/pid;\nerror_log stderr;\n"
        "events {}\n"
        f"http {{\naccess_log off;\n{temporary}include {folder}/groat.conf;\n}}\n"
    )
    with started(["nginx", "-e", "stderr", "-p", str(folder), "-c", "nginx.conf"], folder):
        yield port


@contextmanager
def caddy(folder, api, certificate):
    """Run Caddy with packaging's file; yield its port."""
    port = free_port()
    cert, key = certificate
    text = CADDY.read_text().replace(UPSTREAM, api)
    text = text.replace(
        f"{HOST} {{", f"https://{HOST}:{port} {{\n\ttls {cert} {key}\n\tbind 127.0.0.1", 1
    )
    text = text.replace("grace_period 10s", "grace_period 1s\n\tadmin off\n\tauto_https off")
    (folder / "Caddyfile").write_text(text)
    command = ["caddy", "run", "--adapter", "caddyfile", "--config", "Caddyfile"]
    with started(command, folder):
        yield port


class Client:
    """A client that finds the proxy by name, and trusts its certificate only."""

    def __init__(self, port: int, certificate) -> None:
        trust = ssl.create_default_context(cafile=str(certificate[0]))
        self.http = httpx.Client(verify=trust, trust_env=False, timeout=PATIENCE_S)
        self._port, self._certificate = port, certificate[0]
        self._url = f"https://127.0.0.1:{port}"
        self._how = {"headers": {"Host": HOST}, "extensions": {"sni_hostname": HOST}}

    def ask(self, method: str, path: str, **more) -> httpx.Response:
        headers = self._how["headers"] | more.pop("headers", {})
        how = {"headers": headers, "extensions": self._how["extensions"]}
        return self.http.request(method, self._url + path, **how, **more)

    def ask_as_written(self, method: str, path: str) -> tuple[int, str]:
        """Return status and text of a request whose path is sent as it is."""
        context = ssl.create_default_context(cafile=str(self._certificate))
        plain = socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE_S)
        connection = http.client.HTTPConnection(HOST)
        connection.sock = context.wrap_socket(plain, server_hostname=HOST)
        with closing(connection):
            connection.putrequest(method, path, skip_host=True)
            connection.putheader("Host", HOST)
            connection.putheader("Content-Length", "2")
            connection.endheaders(b"{}")
            reply = connection.getresponse()
            return reply.status, reply.read().decode()

    def is_up(self) -> bool:
        try:
            return self.ask("GET", "/health").status_code == 200
        except httpx.TransportError:
            return False

    def events(self):
        return self.http.stream("GET", self._url + "/api/v1/events", **self._how)


@pytest.fixture
def node(tmp_path):
    node = NodeProcess(tmp_path / "node", ["--api-host", HOST])
    node.start()
    yield node
    node.stop()


@pytest.mark.net
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="as in docs/operations")
@pytest.mark.parametrize(
    "proxy",
    [pytest.param(nginx, marks=needs("nginx")), pytest.param(caddy, marks=needs("caddy"))],
    ids=lambda proxy: proxy.__name__,
)
def test_a_proxy_serves_the_public_part_of_the_api_and_sends_events_at_once(
    proxy, node, tmp_path, certificate
):
    folder = tmp_path / "proxy"
    folder.mkdir()
    with proxy(folder, node.api.removeprefix("http://"), certificate) as port:
        client = Client(port, certificate)
        wait_until(client.is_up, "the proxy answers")
        with closing(client.http):
            assert client.ask("GET", "/").headers["content-type"].startswith("text/html")
            assert client.ask("GET", "/api/blocks/tip/height").text == "0"
            assert "max-age" in client.ask("GET", "/").headers["strict-transport-security"]
            refused = client.ask("POST", "/api/tx", content="00")
            assert refused.status_code == 400, "the node has answered"
            for method, path in INSIDE:
                status, text = client.ask_as_written(method, path)
                assert status in {400, 403}, (method, path)
                assert "groat_height" not in text
            assert client.ask("POST", "/api/tx", content="0" * 2_100_000).status_code == 413
            other = client.ask("GET", "/health", headers={"Host": "other.example"})
            assert "status" not in other.text, "another name is no name of the node"
            with client.events() as stream:
                lines = stream.iter_lines()
                assert wait_for(lines, "event: tip")
                [mined] = node.mine(1, ADDRESS)
                assert mined in wait_for(lines, "data: ", mined)
    assert "Traceback" not in node.errors()


def wait_for(lines, start: str, within: str = "") -> str:
    """Return the next line that starts so; the client's time-out fails the test."""
    return next(line for line in lines if line.startswith(start) and within in line)
