"""Where a study is stored may hold a password: nothing that is shown or written tells it."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys

import optuna
import pytest
import searches

from launchers.search import results
from launchers.search.reporter import STORAGE, Reporter
from launchers.search.study import StudySpec
from sac.config.command_line import check_overrides
from sac.config.credentials import hidden, without_credentials
from sac.errors import UserError

SECRETS = ("hunter2", "s3cr/t", "t0ken", "k3y.pem")
HIDES = {
    "postgresql://anna:hunter2@db.lab:5432/s": "postgresql://***@db.lab:5432/s",
    "postgresql://anna:hunter2@db.lab/s?password=t0ken&sslkey=k3y.pem": (
        "postgresql://***@db.lab/s?password=***&sslkey=***"
    ),
    "postgresql://db.lab/s?user=anna&password=t0ken": "postgresql://db.lab/s?user=***&password=***",
    "mysql+pymysql://anna:s3cr/t@db.lab/s": "mysql+pymysql://***@db.lab/s",
    "mysql+pymysql://anna:hunt?er2hunter2@db.lab/s": "mysql+pymysql://***@db.lab/s",
    "mysql+pymysql://:hunter2@[::1]:3306/s": "mysql+pymysql://***@[::1]:3306/s",
    "postgresql://anna:hunter2": "postgresql://***",
    "postgresql://anna:p@ss@db.lab:hunter2/s": "postgresql://***",
    "anna:hunter2@db.lab/s": "***@db.lab/s",
    "sqlite:////home/me@lab/study.db": "sqlite:////home/me@lab/study.db",
    "sqlite:////home/me/study.db?key=hunter2": "sqlite:////home/me/study.db?key=***",
    "postgresql://db.lab:5432/s": "postgresql://db.lab:5432/s",
}


@pytest.mark.parametrize("url", HIDES)
def test_a_url_is_shown_without_its_secrets(url):
    assert hidden(url) == HIDES[url]
    assert StudySpec("s", url, ["maximize"]).shown == HIDES[url]


@pytest.mark.parametrize("url", [url for url in HIDES if url.partition(":")[0] not in ("sqlite", "postgresql://db")])
def test_what_cannot_be_opened_is_refused_without_its_secrets(url):
    with pytest.raises(UserError, match=r"^hydra\.sweeper\.storage=") as caught:
        StudySpec("s", url, ["maximize"]).open(create=True)
    assert not any(secret in str(caught.value) for secret in SECRETS)


def test_a_text_loses_the_secrets_wherever_they_stand():
    url = "postgresql://anna:p%40ss%2Fw@db.lab/s?password=t0ken&sslmode=x"
    said = f"cannot connect to {url} , no user with password p@ss/w or p%40ss%2Fw, token 't0ken', mode x, next"
    assert without_credentials(said, url) == (
        "cannot connect to postgresql://***@db.lab/s?password=***&sslmode=*** , "
        "no user with password *** or ***, token '***', mode ***, next"
    )
    assert without_credentials("see mysql://a:b@h/s and https://x.org/y") == "see mysql://***@h/s and https://x.org/y"


def with_secret(tmp_path) -> str:
    """A real database with something behind `?`, which SQLite does not mind."""
    return f"sqlite:///{tmp_path / 'study.db'}?password=hunter2&sslkey=k3y.pem"


@pytest.mark.filterwarnings("ignore:Query string")
def test_a_search_writes_and_prints_no_secret(tmp_path):
    one = searches.search(tmp_path, 3, storage=with_secret(tmp_path))
    one.run(searches.by(lambda job: (job.write(), searches.done(searches.value_of(job)))[1]))
    said = results.write(one)
    assert "database: " in said and "password=***&sslkey=***" in said
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "job.json" for path in written) and any(path.name == "study.db" for path in written)
    for text in (said, *(path.read_bytes().decode("utf8", "replace") for path in written)):
        assert "hunter2" not in text and "k3y.pem" not in text


@pytest.mark.filterwarnings("ignore:Query string")
def test_a_database_that_fails_in_mid_search_is_told_in_words_without_its_secrets(tmp_path):
    one = searches.search(tmp_path, 3, storage=with_secret(tmp_path))

    def damages(job):
        with sqlite3.connect(tmp_path / "study.db") as database:
            database.execute("drop table trial_values")
        return searches.done(1.0)

    with (
        pytest.raises(UserError, match=r"^hydra\.sweeper\.storage=sqlite:.*password=\*\*\*") as caught,
        one.spec.in_words(),
    ):
        one.run(searches.by(damages))
    assert "hunter2" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:Query string")
def test_a_report_that_fails_is_logged_without_secrets(tmp_path, monkeypatch, caplog):
    one = searches.search(tmp_path, 1, storage=with_secret(tmp_path))
    number, overrides, _ = one._next()
    job = one.job(number, overrides)
    monkeypatch.setenv(STORAGE, job.env[STORAGE])
    reporter = Reporter(tmp_path, job.trial)

    def fails(step, score):
        raise optuna.exceptions.StorageInternalError(f"lost {one.spec.storage} (password hunter2)")

    monkeypatch.setattr(reporter, "_ask", fails)
    with caplog.at_level(logging.WARNING):
        assert reporter.promising(100, 1.0)
    assert "could not be asked" in caplog.text and "hunter2" not in caplog.text and "k3y.pem" not in caplog.text


@pytest.mark.parametrize(
    "typed",
    ["hydra.sweeper.storage=postgresql://u:hunter2@h/s?a=b=", "hydra.sweeper.storage=postgresql://u:hunter2@h/{s"],
)
def test_what_hydra_cannot_read_is_refused_without_secrets(typed):
    with pytest.raises(UserError) as caught:
        check_overrides([typed])
    assert "hunter2" not in str(caught.value)


def test_a_call_that_is_refused_prints_no_secret(tmp_path):
    """As typed: Hydra refuses to sweep over its own keys, and shows what it was given."""
    words = ["-m", "env=gym/pendulum", "sweep=search", "hydra.sweeper.storage=postgresql://u:hunter2,x@h/s"]
    command = [sys.executable, str(searches.ROOT / "run.py"), *words]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert run.returncode and "hunter2" not in run.stdout + run.stderr and "Traceback" not in run.stderr
