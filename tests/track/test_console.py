"""Plain lines and the live line, with a clock that the test moves."""

from __future__ import annotations

import io

from rich.console import Console

from sac.track.console import EVAL_RETURN_METRIC, RETURN_METRIC, ConsoleSink, _duration


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def plain(max_step=-1):
    out, clock = io.StringIO(), Clock()
    return ConsoleSink(max_step, Console(file=out, width=40), clock), out, clock


def test_plain_lines_are_rate_limited_but_evaluations_and_the_last_one_are_shown():
    sink, out, clock = plain()
    for step in range(1, 11):
        clock.now += 0.5
        sink.scalars({RETURN_METRIC: float(step), "critic/loss": 1.0}, step)
    sink.scalars({EVAL_RETURN_METRIC: -3.5}, 10)
    sink.scalars({RETURN_METRIC: 77.0}, 11)
    sink.scalars({"critic/loss": 1.0}, 12)
    sink.close(0, "", {})
    lines = out.getvalue().splitlines()
    assert [line.split("return ")[1].split()[0] for line in lines] == ["1", "5", "9", "10", "77"]
    assert "eval -3.5" in lines[3] and "eval" not in lines[2]


def test_a_run_in_which_no_episode_ends_says_where_it_is_all_the_same():
    sink, out, clock = plain(max_step=400)
    for second in range(26):
        sink.progress(10 * second, second)
        sink.scalars({"critic/loss": 1.0}, 10 * second)
        clock.now += 1.0
    sink.close(0, "", {})
    lines = out.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines] == ["step 100/400", "step 200/400"]
    assert "10 steps/s  1 updates/s  0:00:30 left" in lines[0]


def test_a_short_run_without_an_episode_ends_with_a_line():
    sink, out, clock = plain()
    sink.progress(0, 0)
    clock.now += 1.0
    sink.progress(30, 3)
    sink.close(0, "", {})
    assert out.getvalue() == "step 30  30 steps/s  3 updates/s\n"


def test_rates_and_time_left():
    sink, out, clock = plain(max_step=100_000)
    for second in range(11):
        sink.progress(10_000 + 500 * second, 50 * second)
        clock.now += 1.0
    sink.scalars({RETURN_METRIC: 1.0}, 15_000)
    line = out.getvalue()
    assert "step 15,000/100,000" in line
    assert "500 steps/s" in line and "50 updates/s" in line
    assert "0:02:50 left" in line  # 85,000 steps at 500 a second


def test_a_terminal_gets_a_live_line_that_ends():
    out, clock = io.StringIO(), Clock()
    sink = ConsoleSink(1000, Console(file=out, force_terminal=True, width=120), clock)
    sink.progress(0, 0)
    clock.now += 4.0
    sink.progress(400, 40)
    sink.scalars({RETURN_METRIC: 12.5}, 400)
    clock.now += 1.0
    sink.progress(500, 50)
    sink.close(0, "", {})
    text = out.getvalue()
    assert "500/1000" in text and "return 12.5" in text and "100 steps/s" in text
    assert text.rstrip().endswith("\x1b[?25h")  # the cursor is back


def test_durations():
    assert [_duration(s) for s in (5, 3725, 90061)] == ["0:00:05", "1:02:05", "1d 1:01:01"]
