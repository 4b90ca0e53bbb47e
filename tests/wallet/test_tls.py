"""Nodes behind TLS: what is wrong between http and https is said, not "start a node"."""

import datetime
import socket
import ssl
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.patience import PATIENCE_S

STRANGER = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
REFUSAL = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def tls_context(tmp_path_factory):
    """A server's context with a certificate that nobody has signed but itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(private + certificate.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


@pytest.fixture(params=[b"", REFUSAL], ids=["closes", "refuses"])
def tls_port(request, tls_context):
    """The port of a TLS server; plain HTTP ends with a closed connection, or with status 400."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:  # closed
                return
            with plain:
                plain.settimeout(PATIENCE_S)
                if plain.recv(1, socket.MSG_PEEK) == b"\x16":  # a TLS handshake
                    try:
                        tls_context.wrap_socket(plain, server_side=True).close()
                    except OSError:
                        continue  # the client does not accept the certificate
                elif request.param:
                    plain.recv(4096)
                    plain.sendall(request.param)

    thread = threading.Thread(target=serve)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def test_http_where_a_node_speaks_tls_is_told_to_be_https(cli, tls_port):
    cli.make()
    cli.node = f"http://127.0.0.1:{tls_port}/api"
    error = cli.error("balance", code=3)
    assert error == f"the node at {cli.node} speaks TLS: write https://127.0.0.1:{tls_port}/api"
    assert "so nothing was sent" in cli.error("send", STRANGER, "1", "--yes", code=3)


def test_https_where_a_node_speaks_http_is_told_to_be_http(cli, stub):
    cli.make()
    host, port = stub.server.server_address
    cli.node = f"https://localhost:{port}/api"  # another name than that of the stub without sockets
    error = cli.error("balance", code=3)
    assert error.startswith(f"no secure connection to {cli.node}: what listens there does not")
    assert f"http://localhost:{port}/api" in error
    assert "start one" not in error
    assert host == "127.0.0.1"


def test_a_certificate_that_is_not_accepted_is_named_as_the_reason(cli, tls_port):
    cli.make()
    cli.node = f"https://127.0.0.1:{tls_port}/api"
    error = cli.error("balance", code=3)
    assert "its certificate is not accepted: self-signed certificate" in error
    assert "start one" not in error
