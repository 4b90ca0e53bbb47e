"""The time that a node's user sets, and what it leaves alone."""

import time

import pytest

from chain.service.clock import SET_MAX, TIME_MAX, Clock


@pytest.mark.parametrize(
    ("unix_s", "reported"),
    [(1, 1), (TIME_MAX, TIME_MAX), (TIME_MAX + 1, TIME_MAX), (SET_MAX, TIME_MAX)],
)
def test_time_stands_still_where_it_was_set_as_far_as_a_header_can_tell(unix_s, reported):
    clock = Clock()
    clock.set(unix_s)
    assert (clock.unix_s(), clock.now().unix_s) == (reported, reported)


def test_0_goes_with_the_systems_clock_again():
    clock = Clock()
    before = int(time.time())
    clock.set(5)
    clock.set(0)
    assert before <= clock.unix_s() <= int(time.time())


def test_the_steady_clock_is_never_set():
    clock = Clock()
    before_us = clock.now().mono_us
    clock.set(SET_MAX)
    now_us = clock.now().mono_us
    assert before_us <= now_us <= time.monotonic_ns() // 1000
