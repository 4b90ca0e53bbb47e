"""The port that processes share, what each of them may use, and who may log in."""

import os
import socket
from contextlib import closing

import pytest

from chain import settings as settings_module
from chain.endpoint import Endpoint
from chain.service.api.access.auth import COOKIE_USER
from chain.service.api.access.budget import IN_FLIGHT_BYTES_MAX, TooMuchInFlightError
from chain.service.api.access.cookie import FollowedLogins, remove_cookie, write_cookie
from chain.service.api.access.limits import SCOPES, Scope, limits_of_one, part
from chain.service.api_port import PortReservation, PortTakenError
from chain.service.readers.serve import _listener_limits
from chain.settings import SettingsError, load_settings
from tests.api.harness import basic

ANY = Endpoint("127.0.0.1", 0)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def bound(port, *options):
    taken = socket.socket()
    for option in options:
        taken.setsockopt(socket.SOL_SOCKET, option, 1)
    try:
        taken.bind(("127.0.0.1", port))
    except OSError:
        taken.close()
        raise
    return taken


def test_a_reserved_port_is_for_sharing_and_for_nobody_else(temporary):
    with closing(PortReservation(ANY)) as reserved:
        port = reserved.endpoint.port
        with pytest.raises(OSError, match="in use"):
            bound(port, socket.SO_REUSEADDR)
        with pytest.raises(OSError, match="in use"):
            PortReservation(reserved.endpoint)
        both = [bound(port, socket.SO_REUSEADDR, socket.SO_REUSEPORT) for _ in range(2)]
        for each in both:
            each.listen()
        with socket.create_connection(("127.0.0.1", port)):
            pass  # one of the two has it, and the reservation never
        for each in both:
            each.close()
    with closing(PortReservation(Endpoint("127.0.0.1", port))) as again:
        assert again.endpoint.port == port


def test_of_two_that_reserve_a_port_at_once_one_is_refused(temporary, monkeypatch):
    with closing(PortReservation(ANY)) as reserved:
        unprobed = Endpoint("127.0.0.1", reserved.endpoint.port)
        probe = socket.socket.bind

        def bind(self, address):
            is_probe = not self.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
            return None if is_probe else probe(self, address)

        monkeypatch.setattr(socket.socket, "bind", bind)
        with pytest.raises(PortTakenError, match=f"port {unprobed.port}"):
            PortReservation(unprobed)


def test_a_folder_of_locks_that_is_not_ours_is_refused(temporary):
    (temporary / f"groat-{os.getuid()}").symlink_to(temporary)
    with pytest.raises(PortTakenError, match="not a folder of this user"):
        PortReservation(ANY)


@pytest.mark.parametrize(
    ("network", "cores", "count"),
    [("main", 1, 0), ("main", 2, 0), ("main", 3, 1), ("main", 6, 4), ("test", 64, 4),
     ("regtest", 64, 0), ("devnet", 64, 0)],
)  # fmt: skip
def test_the_default_leaves_two_cores_to_the_node(tmp_path, monkeypatch, network, cores, count):
    monkeypatch.setattr(settings_module.os, "cpu_count", lambda: cores)
    flags = {"datadir": tmp_path, "network": network}
    assert load_settings(flags).api_processes == count
    assert load_settings({**flags, "api_processes": 7}).api_processes == 7
    with pytest.raises(SettingsError, match="api_processes"):
        load_settings({**flags, "api_processes": 65})


def test_each_limit_has_a_scope_and_what_is_divided_adds_up():
    assert set(SCOPES.values()) == set(Scope)
    assert part(512, "connections_per_ip_max", 4) == 128
    assert part(1, "scanning", 4) == 1
    assert part(3, "listeners_max", 8) == 1, "at least one"
    one, four = _listener_limits(1), _listener_limits(4)
    assert (four.connections_max, four.connections_per_ip_max) == (
        one.connections_max // 4, one.connections_per_ip_max // 4,
    )  # fmt: skip
    budget = limits_of_one(4).budget
    budget.take(IN_FLIGHT_BYTES_MAX // 4)
    with pytest.raises(TooMuchInFlightError):
        budget.take(1)


def test_the_cookie_of_each_start_is_accepted_while_it_is_there(tmp_path):
    logins = FollowedLogins(tmp_path)
    assert not logins.accept(basic(COOKIE_USER, ""))
    for _ in range(2):
        password = write_cookie(tmp_path)
        assert logins.accept(basic(COOKIE_USER, password))
        assert not logins.accept(basic(COOKIE_USER, "0" * 64))
        remove_cookie(tmp_path, password)
        assert not logins.accept(basic(COOKIE_USER, password))


def test_what_is_no_cookie_is_no_login(tmp_path):
    file, logins = tmp_path / ".cookie", FollowedLogins(tmp_path)
    for content in (b"", b"somebody:secret", b"\xff\xfe", b"x" * 10_000, b"__cookie__"):
        file.write_bytes(content)
        assert not logins.accept(basic("somebody", "secret"))
        file.unlink()
    os.mkfifo(file)
    assert not logins.accept(basic(COOKIE_USER, ""))
    file.unlink()
    file.mkdir()
    assert not logins.accept(basic(COOKIE_USER, ""))
