"""The report as a user meets it: the command, the groups, the page's text, and the page in a browser."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import browser
import numpy as np
import pytest
from folders import write_run
from PIL import Image

from sac.report.__main__ import main
from sac.report.curves import read_run
from sac.report.groups import differing, grouped
from sac.report.pictures import COLORS, colors_of
from sac.report.summary import ending_of

ROOT = Path(__file__).parents[2]
EVIL = "<script>document.title='owned'</script><img src=x onerror=alert(1)>\"'&"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Six runs of two scenes and three configurations, and their report."""
    models = tmp_path_factory.mktemp("models")
    for seed in (1, 2):
        write_run(models / f"toy/plain-{seed}", seed=seed, sac__n_step=1)
        write_run(models / f"toy/three-{seed}", seed=seed, slope=2.0, sac__n_step=3)
    write_run(models / "toy/late", seed=3, sac__n_step=3, result=False)
    write_run(models / "other/a", scene="other", sac__n_step=1, slope=-1.0)
    assert main([str(models)]) == 0
    return models


class Text(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.parts, self.tags = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.parts.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.parts).split())


def page(folder) -> Text:
    return Text((folder / "report.html").read_text(encoding="utf8"))


# what is in it


@pytest.mark.slow
def test_the_page_says_what_ran(made):
    words = page(made).words
    assert "6 runs in 3 configurations" in words and "Warnings None." in words
    assert "sac.n_step=1" in words and "sac.n_step=3" in words
    assert "reached max_step" in words and "10.0" in words and "abc1234" in words and "toy/plain-1" in words
    assert "running or killed; last heard of" in words


@pytest.mark.slow
def test_the_summary_has_the_mean_of_the_seeds(made):
    finals = [read_run(made / f"toy/three-{s}").last("eval/return_window") for s in (1, 2)]
    finals.append(read_run(made / "toy/late").last("eval/return_window"))
    assert f"3 {np.mean(finals):.4g}" in page(made).words


@pytest.mark.slow
def test_nothing_comes_from_elsewhere(made):
    text = (made / "report.html").read_text(encoding="utf8")
    assert "http://" not in text and "https://" not in text and "<script" not in text
    sources = [a.get("src") or a.get("srcset") for tag, a in page(made).tags if tag in ("img", "source")]
    assert len(sources) == 8 and all(s.startswith("data:image/png;base64,") for s in sources)
    assert "link" not in [tag for tag, _ in page(made).tags]


@pytest.mark.slow
def test_names_and_values_cannot_inject_anything(tmp_path):
    write_run(tmp_path / "m/a", sac__n_step=1, base__nn=EVIL, scene=EVIL)
    write_run(tmp_path / "m/<b onclick=x>&", sac__n_step=EVIL, base__nn="$x_$", scene=EVIL)
    told = json.loads((tmp_path / "m/a/result.json").read_text()) | {"reason": EVIL, "commit": EVIL}
    (tmp_path / "m/a/result.json").write_text(json.dumps(told))
    assert main([str(tmp_path / "m")]) == 0
    text = page(tmp_path / "m")
    assert not [tag for tag, a in text.tags if tag in ("script", "b") or any(name.startswith("on") for name in a)]
    assert {a.get("src", "")[:5] for tag, a in text.tags if tag == "img"} == {"data:"}
    assert EVIL in "".join(text.parts)


@pytest.mark.slow
def test_a_run_without_metrics_and_a_damaged_one_are_told(tmp_path):
    write_run(tmp_path / "m/new", result=False)
    (tmp_path / "m/new/metrics.csv").unlink()
    broken = write_run(tmp_path / "m/broken", seed=2)
    with (broken / "metrics.csv").open("a") as file:
        file.write("zzz,1\n9999,oops\n10250,1.0")
    assert main([str(tmp_path / "m"), "--out", str(tmp_path / "out")]) == 0
    words = page(tmp_path / "out").words
    assert "no metrics yet" in words and "2 damaged lines of metrics.csv left out" in words
    assert "has just begun, or was killed" in words and "2 (1 evaluated)" in words


def test_only_runs_without_metrics(tmp_path):
    (write_run(tmp_path / "m/new", result=False) / "metrics.csv").unlink()
    assert main([str(tmp_path / "m/new")]) == 0
    assert "No metrics yet." in page(tmp_path / "m/new").words
    assert Image.open(tmp_path / "m/new/report.png").size[0] > 500


def test_a_run_that_was_resumed_is_not_over(tmp_path):
    again = write_run(tmp_path / "a")
    with (again / "metrics.csv").open("a") as file:
        file.write("10250,1.0\n")
    assert not read_run(again).is_over and read_run(write_run(tmp_path / "b")).is_over
    assert ending_of(read_run(again)).startswith("running or killed")


@pytest.mark.slow
def test_a_run_that_failed_says_why(tmp_path):
    failed = write_run(tmp_path / "a", result=False)
    log = "2026-01-01 00:00:00,000 ERROR sac: training has diverged: after 7 updates critic/loss is not finite\n"
    (failed / "log.log").write_text("x\n" + log)
    assert main([str(failed)]) == 0
    words = page(failed).words
    assert "failed: training has diverged: after 7 updates" in words and "Numbers are not finite" in words


@pytest.mark.parametrize(("argument", "words"), [("nothing", "no such folder"), (".", "holds no run")])
def test_a_wrong_path_is_one_message(tmp_path, argument, words):
    command = [sys.executable, "-m", "sac.report", str(tmp_path / argument)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and done.stderr.startswith("error: ") and words in done.stderr
    assert done.stderr.count("\n") == 1 and not done.stdout


@pytest.mark.slow
def test_a_folder_that_cannot_be_written(made, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main([str(made), "--out", str(tmp_path / "file/x")]) == 1
    assert "cannot write into" in capsys.readouterr().err


# groups


@pytest.mark.slow
def test_seed_name_and_place_do_not_set_runs_apart(made):
    groups = grouped([read_run(made / "toy" / n) for n in ("plain-1", "three-1", "plain-2", "three-2")])
    assert [(g.label, len(g.runs)) for g in groups] == [("sac.n_step=1", 2), ("sac.n_step=3", 2)]
    assert differing(groups) == [("sac.n_step", ["1", "3"])]
    [one] = grouped([read_run(made / "toy/plain-1"), read_run(made / "toy/plain-2")])
    assert one.label == one.scene == "toy" and differing([one]) == []


def test_where_most_agree_only_what_differs_is_named(tmp_path):
    for name, changes in {"a": {}, "b": {"sac__tau": 0.1}, "c": {"sac__gamma": 0.9, "base__kw": {"x": 1}}}.items():
        write_run(tmp_path / name, **{"sac__tau": 0.005, "base__kw": {}} | changes)
    labels = [g.label for g in grouped([read_run(tmp_path / n) for n in "abc"])]
    assert labels == ["baseline", "sac.tau=0.1", "sac.gamma=0.9, base.kw.x=1"]


@pytest.mark.slow
def test_a_key_that_one_version_did_not_have(made, tmp_path):
    write_run(tmp_path / "old", sac__n_step=1)
    write_run(tmp_path / "new", sac__n_step=1, sac__fresh=None)
    assert differing(grouped([read_run(tmp_path / n) for n in ("old", "new")])) == [("sac.fresh", ["(absent)", "null"])]


def test_many_groups_have_many_colors():
    assert colors_of([None] * 3) == COLORS[:3]
    assert len(set(colors_of([None] * 30))) == 30 and re.fullmatch("#[0-9a-f]{6}", colors_of([None] * 30)[7])


# pictures and the browser


def colours_in(picture: Path, colors=COLORS[:2], box=None) -> list[int]:
    """How many pixels have (nearly) each of these colours."""
    pixels = np.asarray(Image.open(picture).convert("RGB").crop(box)).astype(int)
    wanted = [[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colors]
    return [int((np.abs(pixels - color).max(-1) < 24).sum()) for color in wanted]


@pytest.mark.slow
def test_the_picture_shows_both_scenes_curves(made):
    assert all(count > 500 for count in colours_in(made / "report.png"))
    assert Image.open(made / "report.png").size[1] > 1500


@pytest.mark.slow
def test_it_opens_in_chromium_with_its_pictures(made, tmp_path):
    sizes = browser.image_sizes(made / "report.html", tmp_path)
    assert len(sizes) == 4 and all(width > 1000 and height > 300 for width, height in sizes)
    seen = browser.dom(made / "report.html", tmp_path)
    assert seen.count("<img") == 4 and "Config keys that differ" in seen
    for dark, paper in ((False, "#ffffff"), (True, "#111827")):
        shot = browser.screenshot(made / "report.html", tmp_path, dark=dark)
        assert all(count > 300 for count in colours_in(shot)), "curves of two configurations"
        assert colours_in(shot, [paper], box=(0, 0, 1280, 30)) == [1280 * 30]


@pytest.mark.slow
def test_chromium_runs_nothing_that_a_name_brings(tmp_path):
    run = write_run(tmp_path / "a", scene=EVIL)
    assert main([str(run)]) == 0
    assert "<title>owned" not in browser.dom(run / "report.html", tmp_path)
