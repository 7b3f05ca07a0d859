"""Where warnings go: a terminal with a live line, a pipe, a file, a disk that is full."""

from __future__ import annotations

import io
import logging
import re
from pathlib import Path

import pytest
from rich.console import Console

from sac.errors import UserError
from sac.runs.log_file import LogFile, run_log
from sac.track.console import ConsoleSink

log = logging.getLogger("sac.somewhere")


def screen(text: str) -> list[str]:
    """What a terminal shows: the control codes that rich uses, applied."""
    lines, row = [""], 0
    for code, letter, character in re.findall(r"\x1b\[([?\d;]*)([A-Za-z])|(.|\n)", text):
        if (code, letter) == ("1", "A"):
            row -= 1
        elif (code, letter) == ("2", "K"):
            lines[row] = ""
        elif character == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif character and character != "\r":
            lines[row] += character
    return [line.rstrip() for line in lines if line.strip()]


def test_a_warning_does_not_tear_the_live_line(tmp_path):
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, color_system=None)
    with run_log(tmp_path / "log.log", console):
        sink = ConsoleSink(1000, console)
        for step in range(0, 1000, 100):
            sink.progress(step, step)
            if step % 300 == 0:
                log.warning("warning %d", step)
        sink.close(0, "", {})
    lines = screen(out.getvalue())
    warnings = [line for line in lines if "warning" in line]
    assert [line.split() for line in warnings] == [["WARNING", "warning", str(i)] for i in (0, 300, 600, 900)]
    assert len([line for line in lines if "900/1000" in line]) == 1 and "step" in lines[-1]
    assert not any("step" in line for line in warnings)
    assert (tmp_path / "log.log").read_text().count("warning") == 4


def test_without_a_terminal_warnings_are_lines_on_stderr(capsys, tmp_path):
    with run_log(tmp_path / "log.log", Console(file=io.StringIO())):
        log.warning("look")
        log.info("only in the file")
    assert capsys.readouterr().err == "WARNING: look\n"
    text = (tmp_path / "log.log").read_text()
    assert "WARNING sac.somewhere: look" in text and "INFO sac.somewhere: only in the file" in text
    assert not [h for h in logging.getLogger().handlers if isinstance(h, LogFile)]


def test_what_ended_the_run_is_in_the_file_only(capsys, tmp_path):
    for error in (UserError("mend it"), ZeroDivisionError("bug")):
        with pytest.raises(type(error)), run_log(tmp_path / "log.log"):
            raise error
    assert capsys.readouterr().err == ""
    text = (tmp_path / "log.log").read_text()
    assert "ERROR sac: mend it\n" in text and "the run failed: bug\nTraceback" in text and text.count("Traceback") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
def test_a_full_disk_is_said_once(capsys):
    with run_log(Path("/dev/full")):
        for _ in range(3):
            log.info("lost")
    assert capsys.readouterr().err == "WARNING: /dev/full is incomplete: [Errno 28] No space left on device\n"


def test_a_file_that_cannot_be_opened(tmp_path):
    with (
        pytest.raises(UserError, match=r"cannot write .*log\.log: No such file or directory"),
        run_log(tmp_path / "x" / "log.log"),
    ):
        pass
