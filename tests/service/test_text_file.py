"""One reader for every file that a person edits; what it cannot read ends as one line."""

import codecs
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.text_file import (
    TOML_BYTES_MAX,
    TOML_DEPTH_MAX,
    TOML_LINE_CHARACTERS_MAX,
    TextFileError,
    read_text_file,
    read_toml,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("text") / "file.toml"


def test_a_byte_order_mark_is_taken_off(path):
    path.write_bytes('name = "café"'.encode("utf-8-sig"))
    assert read_text_file(path, 100) == 'name = "café"'
    assert read_toml(path) == {"name": "café"}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("a = 1".encode("utf-16"), "it is UTF-16: save it as UTF-8"),
        ("a = 1".encode("utf-16-be"), "zero bytes, as UTF-16 does"),
        ("a = 1".encode("utf-32"), "it is UTF-32: save it as UTF-8"),
        (codecs.BOM_UTF32_BE + "a = 1".encode("utf-32-be"), "it is UTF-32"),
        ("a = 1".encode("utf-32-be"), "zero bytes, as UTF-32 does"),
        ("a = 1".encode("utf-32-le"), "zero bytes, as UTF-32 does"),
        ("a = 1".encode("utf-16-le"), "zero bytes, as UTF-16 does"),
        (b"a = 1\nb = '\xe9'", "byte 0xe9 in line 2 is not UTF-8"),
        (b"\xc3", "byte 0xc3 in line 1 is not UTF-8"),
        (b"\xed\xa0\x80", "not UTF-8"),  # a surrogate
    ],
)
def test_other_encodings_are_named(path, data, why):
    path.write_bytes(data)
    with pytest.raises(TextFileError, match=why) as caught:
        read_text_file(path, 1000)
    assert str(caught.value).startswith(f"{path}: ")
    assert not caught.value.is_missing


def test_the_size_limit_is_in_bytes_and_exact(path):
    path.write_text("é" * 50)
    assert len(read_text_file(path, 100)) == 50
    with pytest.raises(TextFileError, match="over 99 bytes"):
        read_text_file(path, 99)


def test_an_endless_file_is_not_read_to_its_end():
    with pytest.raises(TextFileError, match="not a regular file"):
        read_text_file(Path("/dev/zero"), 1024)


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "groat.toml")
    with pytest.raises(TextFileError, match="not a regular file"):
        read_text_file(tmp_path / "groat.toml", 1024)


def test_what_is_missing_is_told_from_what_is_in_the_way(tmp_path):
    (tmp_path / "file").write_text("")
    for missing in (tmp_path / "none", tmp_path / "file" / "none"):
        with pytest.raises(TextFileError) as caught:
            read_text_file(missing, 10)
        assert caught.value.is_missing
    for wrong, why in ((tmp_path, "Is a directory"), (tmp_path / "a\0b", "not a file name")):
        with pytest.raises(TextFileError, match=why) as caught:
            read_text_file(wrong, 10)
        assert not caught.value.is_missing


def test_a_name_that_would_steer_a_terminal_is_shown_in_one_line(tmp_path):
    with pytest.raises(TextFileError) as caught:
        read_text_file(tmp_path / "a\n\x1b[2J\udcff \u2615", 10)
    name = "a\\n\\x1b[2J\\udcff \u2615"
    assert str(caught.value) == f"{tmp_path / name}: No such file or directory"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a = " + "[" * 3000, "nested over 16 deep"),
        ("a = " + "[\n" * 30_000, "nested over 16 deep"),
        ("a = " + "{a = " * 800, "nested over 16 deep"),
        (".".join("a" * 2000) + " = 1", "nested over 16 deep"),
        ("[" + ".".join("a" * 2000) + "]", "nested over 16 deep"),
        ("a = " + "[" * 30_000, "line 1 is over 4,096 characters"),
        ("a = 1\nb = " + "9" * 5000, "line 2 is over 4,096 characters"),
        ("a = 1" + "0" * 4000, "a: an integer of over 64 bits"),
        ("a = 0x" + "f" * 4000, "a: an integer of over 64 bits"),
        ("b = [[{c = 9223372036854775808}]]", "c: an integer of over 64 bits"),
        ("a = -9223372036854775809", "a: an integer of over 64 bits"),
        ("#" * TOML_LINE_CHARACTERS_MAX + "\n" + "# \n" * 30_000, "over 65,536 bytes"),
        ("a = 1\na = 2", "Cannot overwrite a value"),
        ("a = 2020-02-30", "a|Invalid|Expected"),
    ],
    ids=lambda value: value[:20],
)
def test_what_nobody_should_compute_with_is_refused_in_one_line(path, text, why):
    path.write_text(text)
    with pytest.raises(TextFileError, match=why) as caught:
        read_toml(path)
    assert len(str(caught.value).splitlines()) == 1


def test_the_limits_of_toml_are_exact(path):
    path.write_text("a = " + "[" * (TOML_DEPTH_MAX - 1) + "]" * (TOML_DEPTH_MAX - 1))
    assert read_toml(path)
    path.write_text("a = " + "[" * (TOML_DEPTH_MAX + 1) + "]" * (TOML_DEPTH_MAX + 1))
    with pytest.raises(TextFileError, match="nested"):
        read_toml(path)
    path.write_text("#" * TOML_LINE_CHARACTERS_MAX)
    assert read_toml(path) == {}
    path.write_text("#" * (TOML_LINE_CHARACTERS_MAX + 1))
    with pytest.raises(TextFileError, match="line 1"):
        read_toml(path)
    path.write_text("#\n" * (TOML_BYTES_MAX // 2))
    assert read_toml(path) == {}
    path.write_text(f"a = {2**63 - 1}\nb = {-(2**63)}\nc = inf\nd = nan")
    assert read_toml(path)["a"] == 2**63 - 1


_WORDS = ["[[", '"""', "ports", "p2p", "rules", "name", "-1", "0x", "1e999", "inf", "nan", "true"]
_WORDS += ["9" * 30, "2020-01-01", "00:00:00", "\\u0000", "\\ud800", "~x", "127.0.0.1:1"]
_SCRAPS = st.sampled_from([*_WORDS, *"[]{}=.,'#\n\r\0 _+a1é\ufeff", '"'])


@settings(deadline=None, max_examples=150)
@given(st.one_of(st.binary(max_size=200), st.lists(_SCRAPS, max_size=40).map("".join)))
def test_any_bytes_are_a_document_or_one_line(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    problem = ""
    try:
        assert isinstance(read_toml(path), dict)
    except TextFileError as error:
        problem = str(error)
    assert len(problem.splitlines()) <= 1
