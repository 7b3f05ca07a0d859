"""metrics.csv against what was logged, through new columns, kills and resumes."""

from __future__ import annotations

import csv
import math
import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sac.track.csv_file import CsvSink


def read(path):
    """[(step, {column: value})]; as every CSV reader does, shorter rows have no value."""
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    return [(int(r[0]), {k: float(v) for k, v in zip(rows[0][1:], r[1:]) if v != ""}) for r in rows[1:]]


def end(sink):
    sink.close(0, "", {})


names = st.sampled_from(["a/b", "c", "with, comma", 'with "quote"', "x/y/z"])
rows = st.lists(st.dictionaries(names, st.floats(width=32), max_size=4), max_size=12)


@given(rows, rows)
@settings(max_examples=60, deadline=None)
def test_reads_back_what_was_logged_with_columns_that_appear_later(tmp_path_factory, first, second):
    path = tmp_path_factory.mktemp("csv") / "metrics.csv"
    for part, begin in ((first, 0), (second, len(first))):
        sink = CsvSink(path)
        for i, values in enumerate(part):
            sink.scalars(values, begin + i)
        end(sink)
    expected = first + second
    found = read(path)
    assert [step for step, _ in found] == list(range(len(expected)))
    for (_, got), want in zip(found, expected):
        assert got.keys() == want.keys()
        for key, value in want.items():
            assert math.isclose(got[key], value, rel_tol=1e-7) or (math.isnan(value) and math.isnan(got[key]))


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_half_line_is_repaired(tmp_path, cut):
    path = tmp_path / "metrics.csv"
    sink = CsvSink(path)
    for step in range(3):
        sink.scalars({"a": step + 0.5}, step)
    end(sink)
    path.write_bytes(path.read_bytes()[:-cut])
    sink = CsvSink(path)
    sink.scalars({"a": 9.0}, 7)
    end(sink)
    whole = 2 if cut <= 6 else 1  # a row is six bytes: "2,2.5\n"
    assert read(path) == [(s, {"a": s + 0.5}) for s in range(whole)] + [(7, {"a": 9.0})]


@pytest.mark.parametrize("content", [b"", b"env_st", b"\n", b"something else\n1,2\n"])
def test_a_file_without_a_header_starts_afresh(tmp_path, content):
    path = tmp_path / "metrics.csv"
    path.write_bytes(content)
    sink = CsvSink(path)
    sink.scalars({"a": 1.0}, 3)
    end(sink)
    assert read(path) == [(3, {"a": 1.0})]


def test_a_resume_takes_back_the_steps_after_its_checkpoint(tmp_path):
    path = tmp_path / "metrics.csv"
    sink = CsvSink(path)
    for step in range(0, 60, 10):
        sink.scalars({"a": 1.0}, step)
    end(sink)
    with path.open("ab") as file:
        file.write(b"\0\0\0\0\n")  # what a power cut may leave
    sink = CsvSink(path, resume_step=30)
    sink.scalars({"a": 2.0}, 40)
    end(sink)
    assert [s for s, _ in read(path)] == [0, 10, 20, 30, 40]
    assert not list(tmp_path.glob("*.new"))


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_rows_survive_a_kill(tmp_path):
    path = tmp_path / "metrics.csv"
    code = (
        "import os, signal\nfrom sac.track.csv_file import CsvSink\n"
        f"s = CsvSink(r'{path}')\n"
        "for i in range(500): s.scalars({'a': i, f'b{i // 100}': 1.0}, i)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=30, check=False, env={**os.environ, "PYTHONPATH": "."})
    assert done.returncode == -signal.SIGKILL
    assert [s for s, _ in read(path)] == list(range(500))
    assert read(path)[450] == (450, {"a": 450.0, "b4": 1.0})
