"""Tables on terminals of every width."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from wallet.table import Column, cut_middle, table_lines

COLUMNS = [
    Column("date"),
    Column("GROAT", is_right=True),
    Column("transaction", is_long=True),
    Column("label", is_long=True),
]
DATE, AMOUNT, TXID = "2026-11-28 22:10:03Z", "+50.00000000", "0123456789abcdef" * 4
ROWS = [[DATE, AMOUNT, TXID, "tea"], ["unconfirmed", "-1.00000000", TXID[::-1], ""]]


@pytest.mark.parametrize("width", [None, 200, 111])
def test_a_table_that_fits_has_a_line_for_each_row(width):
    head, rule, *rows = table_lines(COLUMNS, ROWS, width)
    assert head.split() == ["date", "GROAT", "transaction", "label"]
    assert set(rule.strip()) == {"─"}
    assert rows[0].endswith(f"{TXID}   tea")
    assert len(rows) == 2


@pytest.mark.parametrize("width", [110, 80, 68])
def test_a_table_that_does_not_fit_has_whole_ids_on_lines_of_their_own(width):
    lines = table_lines(COLUMNS, ROWS, width)
    assert max(map(len, lines)) <= width
    assert [line.strip() for line in lines].count(TXID) == 1
    assert lines[2].split() == [*DATE.split(), AMOUNT]
    assert lines[4].strip() == "tea"


def test_an_id_wider_than_the_terminal_is_cut_in_the_middle():
    lines = [line.strip() for line in table_lines(COLUMNS, ROWS, 67)]
    assert TXID not in lines
    assert any(line.startswith(TXID[:30]) and line.endswith(TXID[-30:]) for line in lines)


@pytest.mark.parametrize("width", [35, 20])
def test_a_terminal_too_narrow_for_dates_and_amounts_gets_a_line_for_each_value(width):
    lines = table_lines(COLUMNS, ROWS, width)
    assert f"GROAT: {AMOUNT}" in lines
    assert f"date: {DATE}" in lines
    assert "label: tea" not in lines
    assert lines[lines.index("label:") + 1] == "tea"


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=80), st.integers(2, 90))
def test_cut_text_is_no_wider_than_it_may_be_and_keeps_both_ends(text, width):
    cut = cut_middle(text, width)
    assert len(cut) == min(len(text), width)
    left, _, right = cut.partition("…")
    assert text.startswith(left)
    assert text.endswith(right)


def test_wide_characters_are_counted_as_the_terminal_draws_them():
    columns = [Column("label"), Column("GROAT", is_right=True)]
    lines = table_lines(columns, [["чай", "1"], ["茶茶茶", "22"]], None)
    assert len({cell_len(line) for line in lines}) == 1


def test_characters_that_the_encoding_lacks_are_not_drawn():
    assert "".join(table_lines(COLUMNS, ROWS, 60, "ascii")).isascii()
