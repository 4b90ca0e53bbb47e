"""The cookie file and rpc-auth (W1)."""

import hashlib
import hmac
import os
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from chain.rpc_auth import RpcAuthError
from chain.service.api.access.auth import Logins
from chain.service.api.access.cookie import remove_cookie, write_cookie
from tests.api.harness import basic


def rpc_auth(user: str, password: str, salt: str = "a1b2c3") -> str:
    digest = hmac.new(salt.encode(), password.encode(), hashlib.sha256).hexdigest()
    return f"{user}:{salt}${digest}"


def test_w1_cookie_is_for_its_owner_alone_whatever_the_umask(tmp_path):
    for umask in (0o000, 0o777):
        before = os.umask(umask)
        try:
            password = write_cookie(tmp_path)
        finally:
            os.umask(before)
        file = tmp_path / ".cookie"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert file.read_text() == f"__cookie__:{password}"
        assert len(password) == 64
        assert list(tmp_path.iterdir()) == [file]


def test_w1_symbolic_link_in_its_place_is_refused(tmp_path):
    target = tmp_path / "target"
    target.write_text("keep")
    (tmp_path / ".cookie").symlink_to(target)
    with pytest.raises(OSError, match="symbolic link"):
        write_cookie(tmp_path)
    assert target.read_text() == "keep"


def test_w1_stale_cookie_is_replaced(tmp_path):
    assert write_cookie(tmp_path) != write_cookie(tmp_path)


def test_cookie_is_removed_only_by_who_wrote_it(tmp_path):
    old, new = write_cookie(tmp_path), write_cookie(tmp_path)
    remove_cookie(tmp_path, old)
    assert (tmp_path / ".cookie").exists()
    remove_cookie(tmp_path, new)
    assert not (tmp_path / ".cookie").exists()
    remove_cookie(tmp_path, new)


def test_cookie_s_password_opens_and_others_do_not(tmp_path):
    password = write_cookie(tmp_path)
    logins = Logins(password)
    assert logins.accept(basic("__cookie__", password))
    assert logins.accept("basic " + basic("__cookie__", password).split()[1])
    assert not logins.accept(basic("__cookie__", password[:-1]))
    assert not logins.accept(basic("__cookie__", password + "0"))


def test_rpc_auth_is_core_s():
    """A line made by Core's rpcauth.py; the password has a colon and non-ASCII characters."""
    logins = Logins(None, [rpc_auth("alice", "pä:ss"), rpc_auth("bob", "other", "00ff")])
    assert logins.accept(basic("alice", "pä:ss"))
    assert logins.accept(basic("bob", "other"))
    assert not logins.accept(basic("alice", "other"))
    assert not logins.accept(basic("__cookie__", ""))


def test_known_rpc_auth_line():
    """From the documentation of rpcauth: HMAC-SHA256 with the salt as text for its key."""
    digest = hmac.digest(b"d74d8e7d", b"cake", "sha256").hex()
    assert Logins(None, [f"user:d74d8e7d${digest}"]).accept(basic("user", "cake"))


@pytest.mark.parametrize(
    "line",
    [
        "",
        "user",
        "user:salt",
        "user:salt$",
        "user:salt$zz",
        ":salt$" + "0" * 64,
        "a:b$c$d",
        "\udcff:b$" + "0" * 64,
    ],
)
def test_malformed_rpc_auth_is_refused(line):
    with pytest.raises(RpcAuthError):
        Logins(None, [line])


def test_the_command_of_the_page_makes_a_login_that_its_password_opens():
    page = (Path(__file__).parents[2] / "docs" / "rpc.md").read_text()
    (command,) = re.findall(r"^    (python3 -c '.*')$", page, re.MULTILINE)
    _, *words = shlex.split(command)
    made = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True)
    line, password = made.stdout.splitlines()
    assert Logins(None, [line]).accept(basic("alice", password))
    assert not Logins(None, [line]).accept(basic("alice", password[:-1]))


def test_passwords_show_in_no_representation(tmp_path):
    password = write_cookie(tmp_path)
    assert password not in repr(vars(Logins(password)))
