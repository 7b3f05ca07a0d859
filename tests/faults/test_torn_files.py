"""Small files after a power cut: empty, half there, full of zeros. Each has a way on that loses as little as it can."""

from __future__ import annotations

import json
import os
import re
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from launchers.jobs.job import Status, read_status
from launchers.jobs.status_file import StatusFile
from sac import files
from sac.config.schema import Config
from sac.config.validation import validated
from sac.distributed.insert_client import InsertClient
from sac.errors import UserError
from sac.files import OftenWritten, write_atomically
from sac.population.cem import Cem
from sac.population.evolution import Evolution
from sac.population.member import Member
from sac.population.store import PopulationStore
from sac.replay import RateLimiter, UnlimitedRate
from sac.roles import replay as replay_role
from sac.roles.actor import count_start
from sac.roles.cell_config import codec_of_replay, describe, make_directory
from sac.runs.checkpoint import Checkpoints
from sac.runs.folder import RunFolder
from sac.runs.resume import stored_config
from sac.track.csv_file import CsvSink
from sac.track.observer import Observer
from sac.types import Sensor, Spec
from sac.wire.client import Client
from sac.wire.peer import ClientId
from tests.faults.saving_for_ever import Part, parts
from tests.runs.short_runs import PENDULUM, Runner
from tests.wire.wire_kit import InThread, random_rows, wait_for

ROOT = Path(__file__).parents[2]


def empty(path: Path) -> None:
    path.write_bytes(b"")


def half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def garbage(path: Path) -> None:
    path.write_bytes(b"\xff\xfe[1, 2")


TORN = pytest.mark.parametrize("tear", [empty, half, zeros])
WORSE = pytest.mark.parametrize("tear", [empty, half, zeros, garbage])


# writing


class Calls:
    """What brings files to the disk, in its order: fsync of a name, and renames."""

    def __init__(self, monkeypatch, folder: Path):
        self.made, fsync, replace = [], os.fsync, Path.replace

        def recorded_fsync(handle):
            self.made.append(os.path.relpath(Path(f"/proc/self/fd/{handle}").readlink(), folder))
            fsync(handle)

        def recorded_replace(path, target):
            self.made.append("rename")
            return replace(path, target)

        monkeypatch.setattr(os, "fsync", recorded_fsync)
        monkeypatch.setattr(Path, "replace", recorded_replace)

    def flushes(self) -> int:
        return len(self.made) - self.made.count("rename")


def test_a_small_file_is_on_the_disk_before_its_name_and_the_name_at_the_end(tmp_path, monkeypatch):
    calls = Calls(monkeypatch, tmp_path)
    write_atomically(tmp_path / "a.json", "{}")
    assert calls.made == [f".a.json.{os.getpid()}", "rename", "."]
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_what_is_written_all_the_time_is_flushed_every_few_seconds_and_at_the_end(tmp_path, monkeypatch):
    calls, now = Calls(monkeypatch, tmp_path), [0.0]
    monkeypatch.setattr(files.time, "monotonic", lambda: now[0])
    file = OftenWritten(tmp_path / "a.json")
    for i in range(20):  # twice a second
        now[0] = i / 2
        file.write(str(i))
    assert calls.flushes() == 2 * 2, "file and folder at 0 and 5 seconds"
    file.write("last", last=True)
    assert calls.flushes() == 2 * 3 and (tmp_path / "a.json").read_text() == "last"


def test_the_status_of_a_job_is_flushed_when_it_ends(tmp_path, monkeypatch):
    file = StatusFile(tmp_path)
    calls = Calls(monkeypatch, tmp_path)
    file.began(tmp_path, validated(composed(tmp_path)))
    assert calls.flushes() == 0
    file.close(0, "max_step", {"env_steps": 3})
    assert calls.flushes() == 2 and read_status(tmp_path).result == {"env_steps": 3}


# a run: its config, its networks, its records


@cache
def shipped():
    """The config of `run.py env=gym/pendulum`."""
    GlobalHydra.instance().clear()
    OmegaConf.register_new_resolver("host_number", lambda: 1, replace=True)
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        made = compose("config", ["env=gym/pendulum", "base.name=a", "seed=1"])
    made.base.env = "gym/pendulum"  # it asks Hydra's own part
    return made


def composed(folder: Path, *typed: str):
    """... with these settings and the run <folder>/m/pendulum/a."""
    return OmegaConf.merge(shipped(), OmegaConf.from_dotlist([f"base.models={folder}/m", *typed]))


def begun(folder: Path, *typed: str) -> tuple[RunFolder, Config]:
    """A run that was begun, with networks of its own and two checkpoints."""
    config = validated(composed(folder, *typed))
    run, networks = RunFolder.of(config), folder / "mine.py"
    networks.write_text("SIZE = 8\n")
    run.create(config, networks)
    for step in (1, 2):
        Checkpoints(run.checkpoints, beside=(run.config, run.networks)).save(parts(float(step), 100), step, None)
    return run, config


def without_copies(run: RunFolder) -> None:
    """As an earlier version left it."""
    for name in ("config.yaml", "nn.py"):
        for copy in run.checkpoints.glob(f"step_*/{name}"):
            copy.unlink()


@TORN
@pytest.mark.parametrize("typed", [{"ckpt": "latest"}, {"ckpt": "auto"}, {"role": "play"}])
def test_a_torn_config_comes_back_from_a_checkpoint(tmp_path, caplog, tear, typed):
    run, _ = begun(tmp_path, "sac.gamma=0.5")
    tear(run.config)
    again = composed(tmp_path, *(f"{key}={value}" for key, value in typed.items()))
    assert stored_config(again, typed).sac.gamma == 0.5
    assert "config.yaml" in caplog.text and "the copy in" in caplog.text and "step_000000000002 is used" in caplog.text


@WORSE
def test_a_torn_config_without_a_copy_is_refused_in_words_unless_the_command_tells_everything(tmp_path, caplog, tear):
    run, _ = begun(tmp_path)
    without_copies(run)
    tear(run.config)
    for typed in ({"ckpt": "latest"}, {"role": "play"}):
        with pytest.raises(UserError, match=r"config\.yaml .*no checkpoint holds a copy.*with ckpt=auto$"):
            stored_config(composed(tmp_path, *(f"{key}={value}" for key, value in typed.items())), typed)
    with pytest.raises(UserError, match="no checkpoint holds a copy"):
        run.create(validated(composed(tmp_path)), None)
    typed = {"ckpt": "auto", "sac.gamma": 0.7}
    assert stored_config(composed(tmp_path, "ckpt=auto", "sac.gamma=0.7"), typed).sac.gamma == 0.7
    assert "What this command says is used instead" in caplog.text


def test_a_learner_that_leaves_its_population_keeps_what_the_evolver_moved(tmp_path, caplog):
    run, _ = begun(tmp_path, "base.evolver_enabled=true", "sac.gamma=0.5", "sac.tau=0.25")
    numbers = {"sac.gamma": 0.75, "sac.n_step": 3.0, "sac.tau": 0.125}
    evolving = Part(1)
    evolving.state = lambda: ({}, {"assigned": 2, "numbers": numbers})
    Checkpoints(run.checkpoints).save({**parts(3.0, 100), "evolving": evolving}, 3, None)

    def resumed(typed):
        typed = {"ckpt": "auto", **typed}
        return stored_config(composed(tmp_path, *(f"{key}={value}" for key, value in typed.items())), typed).sac

    alone = resumed({"base.evolver_enabled": False, "sac.tau": 0.0625})
    assert (alone.gamma, alone.n_step, alone.tau) == (0.75, 3, 0.0625), "what is typed counts"
    assert isinstance(alone.n_step, int)
    assert "goes on with what the evolver has set: sac.gamma=0.75, sac.n_step=3" in caplog.text
    assert resumed({}).gamma == 0.5, "in its population the checkpoint brings it"
    assert resumed({"base.evolver_enabled": False, "ckpt": 2}).gamma == 0.5, "before it was moved"


def test_a_config_that_somebody_has_spoilt_is_not_guessed(tmp_path):
    run, _ = begun(tmp_path)
    run.config.write_text("{")
    with pytest.raises(
        UserError, match=r"A copy of it lies in .*step_000000000002/config\.yaml: put that in its place"
    ):
        stored_config(composed(tmp_path, "ckpt=auto"), {"ckpt": "auto"})


def test_a_config_of_a_newer_version_is_refused_and_stays(tmp_path):
    run, _ = begun(tmp_path)
    text = run.config.read_text() + "colour: red\n"
    run.config.write_text(text)
    with pytest.raises(UserError, match=r"unknown key colour.*made by a newer version.*nothing was changed"):
        stored_config(composed(tmp_path, "ckpt=auto"), {"ckpt": "auto"})
    assert run.config.read_text() == text


def test_torn_files_of_a_whole_run(monkeypatch, capfd, caplog, tmp_path):
    """The run goes on with its own settings and writes its config anew."""
    go = Runner(monkeypatch, capfd, tmp_path)
    go.ok(*PENDULUM, "sac.updates_per_step=0", "base.max_step=5", "sac.gamma=0.5")
    run = go.run().path
    zeros(run / "config.yaml")
    empty(run / "metrics.csv")
    go.ok("env=gym/pendulum", "base.models=m", "base.name=a", "ckpt=latest", "base.max_step=9")
    assert "config.yaml is empty or damaged: the copy in" in caplog.text
    stored = OmegaConf.load(run / "config.yaml")
    assert (stored.sac.gamma, stored.base.max_step, go.run().result["env_steps"]) == (0.5, 9, 9)
    without_copies(RunFolder(run))
    empty(run / "config.yaml")
    whole = (*PENDULUM[:3], *PENDULUM[4:], "sac.updates_per_step=0", "sac.gamma=0.5")  # no seed: it draws one
    go.ok(*whole, "ckpt=auto", "base.max_step=12")
    assert "What this command says is used instead" in caplog.text
    assert go.run().result["env_steps"] == 12 and OmegaConf.load(run / "config.yaml").base.max_step == 12
    shutil.rmtree(run / "checkpoints")  # a power cut before the first
    empty(run / "config.yaml")
    go.ok(*whole, "ckpt=auto", "base.max_step=3")
    assert go.run().steps == [3] and OmegaConf.load(run / "config.yaml").base.max_step == 3


@pytest.mark.parametrize("tear", [empty, zeros, os.unlink])
def test_torn_networks_come_back_from_a_checkpoint(tmp_path, caplog, tear):
    run, _ = begun(tmp_path)
    tear(run.networks)
    assert run.own_networks().read_text() == "SIZE = 8\n" and "comes back from" in caplog.text
    without_copies(run)
    tear(run.networks)
    if tear is os.unlink:
        assert run.own_networks() is None
        return
    with pytest.raises(UserError, match=r"nn\.py is empty or damaged, and no checkpoint holds a copy"):
        run.own_networks()


@TORN
def test_a_torn_id_at_weights_and_biases_is_read_from_the_names_of_its_records(tmp_path, tear):
    from sac.track.wandb_run import _kept_id

    path = tmp_path / "wandb" / "run_id"
    made = _kept_id(path)
    record = tmp_path / "wandb" / f"offline-run-20260101_000000-{made}" / f"run-{made}.wandb"
    record.parent.mkdir()
    record.touch()
    tear(path)
    assert _kept_id(path) == made if tear is not half else re.fullmatch(r"\w{4,8}", _kept_id(path))
    empty(path)
    shutil.rmtree(record.parent)
    assert re.fullmatch(r"\w{8}", _kept_id(path)) and _kept_id(path) == _kept_id(path)


def test_metrics_without_a_header_are_set_aside(tmp_path, caplog):
    path = tmp_path / "metrics.csv"
    sink = CsvSink(path)
    sink.scalars({"a": 1.0}, 1)
    sink.close(0, "", {})
    whole = path.read_bytes()
    path.write_bytes(bytes(4) + whole[4:])
    CsvSink(path, resume_step=1).close(0, "", {})
    assert path.read_text() == "env_step\n" and path.with_name("metrics.csv.damaged").read_bytes()[4:] == whole[4:]
    assert "metrics.csv.damaged" in caplog.text


# a multirun


@WORSE
def test_a_torn_status_says_nothing_yet(tmp_path, tear):
    StatusFile(tmp_path).close(0, "max_step", {})
    tear(tmp_path / "status.json")
    assert read_status(tmp_path) == Status()


@WORSE
def test_an_actor_whose_starts_are_torn_begins_a_life_that_no_other_was(tmp_path, caplog, tear):
    file = tmp_path / "starts"
    assert [count_start(file) for _ in range(12)] == list(range(1, 13))
    if tear is half:
        return  # a shorter number
    tear(file)
    found = count_start(file)
    assert found > 10**9 and count_start(file) == found + 1 and "starts is damaged" in caplog.text


# a cell: the files of its replay


class Wanted:
    requested, name, exit_code = False, "", 0


class Cell(InThread):
    """The role `replay` of a cell in a thread, and what a learner and an actor say to it."""

    spec = Spec((Sensor("x", (3,)),), continuous=1)

    def __init__(self, folder: Path, *typed: str):
        super().__init__()
        self.config = validated(composed(folder, "role=replay", "replay.batch_size=8", "replay.capacity=2000", *typed))
        run = RunFolder.of(self.config)
        self.folder, self.directory, self.wanted = run.path / "replay", make_directory(self.config, run), Wanted()
        self.keeper = replay_role.ReplayHost(self.config, self.folder)

    def turn(self) -> None:
        self.keeper.serve(self.directory, lambda: self.wanted.requested, lambda: self.keeper.report(Observer()))

    def __exit__(self, *error) -> None:
        self.wanted.requested = True
        super().__exit__(*error)

    def close(self) -> None:
        self.keeper.close()

    def client(self, me: ClientId) -> Client:
        told = {"state_size": 0, "candidates": 1, "agents_of_the_scene": None}
        description = describe(self.config, self.spec, **told)
        return Client("replay", codec_of_replay(self.config, self.spec, 0), description, me, self.directory, None)

    def is_open(self) -> bool:
        return self.keeper.server is not None and self.keeper.server.description is not None

    def learner_comes(self) -> None:
        client = self.client(ClientId("learner"))
        wait_for(self.is_open, meanwhile=client.pump)
        client.close()

    def insert(self, k: int) -> None:
        line = self.client(ClientId("actor", 1))
        inserter, rng = InsertClient(line), np.random.default_rng(k)
        wait_for(lambda: line.connected, meanwhile=inserter.pump)
        step = random_rows(self.spec, 0, k, rng)
        inserter.add(step._replace(last=np.zeros(k, bool), stream=np.zeros(k, np.int64)))
        assert inserter.drain(20)
        line.close()

    def spend(self) -> None:
        while self.keeper.service.limiter.try_spend():
            pass


NORMALISED = "sac.use_normalization=true"


def after_a_life(folder: Path, *typed: str) -> tuple[Path, dict, int, np.ndarray]:
    """The folder, counters, rows and mean of a replay that has lived and ended."""
    with Cell(folder, *typed) as cell:
        cell.learner_comes()
        cell.insert(100)
        cell.spend()
        wait_for(lambda: cell.keeper.service.replay.transitions == 100)
    memory, stats = cell.keeper.service.limiter.state()[1], cell.keeper.service.stats
    return cell.folder, memory, 100, stats.state()[0]


@WORSE
def test_torn_files_of_a_replay_are_made_anew_from_the_rows(tmp_path, caplog, tear):
    folder, counters, rows, stats = after_a_life(tmp_path, NORMALISED)
    assert counters == {"steps": 100, "earning_steps": 92, "updates": 92, "credit": "0"} and stats
    for name in ("limiter.json", "layout.json", "moments.npz"):
        tear(folder / name)
    with Cell(tmp_path, NORMALISED) as cell:
        wait_for(cell.is_open)
        service = cell.keeper.service
        assert len(service.replay) == rows and service.limiter.state()[1] == counters
        for key, value in service.stats.state()[0].items():
            np.testing.assert_allclose(value, stats[key], rtol=1e-9)
        cell.insert(10)
        wait_for(lambda: service.limiter.steps == 110)
    for words in ("limiter.json is damaged", "layout.json is missing or damaged", "moments.npz is damaged"):
        assert words in caplog.text
    assert json.loads((folder / "layout.json").read_text())["capacity"] == 2000


@TORN
def test_a_torn_description_is_told_anew_by_the_learner(tmp_path, caplog, tear):
    folder, counters, rows, _ = after_a_life(tmp_path)
    tear(folder / "description.json")
    empty(folder / "layout.json")
    with Cell(tmp_path) as cell:
        cell.learner_comes()
        assert len(cell.keeper.service.replay) == rows and cell.keeper.service.limiter.state()[1] == counters
    assert "description.json is damaged" in caplog.text
    assert json.loads((folder / "description.json").read_text())["told"]["state_size"] == 0


@pytest.mark.parametrize("tear", [empty, os.unlink])
def test_rows_that_do_not_fit_are_never_deleted_for_want_of_a_layout(tmp_path, tear):
    folder, _, rows, _ = after_a_life(tmp_path)
    tear(folder / "layout.json")
    words = r"layout\.json is missing or damaged, and .*rows has \d+ bytes .* expects \d+"
    with pytest.raises(UserError, match=words), Cell(tmp_path, "replay.capacity=3000") as cell:
        wait_for(lambda: cell.failure is not None)
    with Cell(tmp_path) as cell:
        wait_for(cell.is_open)
        assert len(cell.keeper.service.replay) == rows


def test_a_replay_of_a_newer_version_is_refused_and_stays(tmp_path):
    folder, *_ = after_a_life(tmp_path)
    layout = json.loads((folder / "layout.json").read_text())
    (folder / "layout.json").write_text(json.dumps({**layout, "format": 2}))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    words = r"made by a newer version .*its layout is 2, this version reads 1"
    with pytest.raises(UserError, match=words), Cell(tmp_path) as cell:
        wait_for(lambda: cell.failure is not None)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_layout_of_an_earlier_version_has_no_format(tmp_path):
    folder, *_ = after_a_life(tmp_path)
    layout = json.loads((folder / "layout.json").read_text())
    assert layout.pop("format") == 1
    (folder / "layout.json").write_text(json.dumps(layout))
    with Cell(tmp_path) as cell:
        wait_for(cell.is_open)
        assert len(cell.keeper.service.replay) == 100


@pytest.mark.parametrize(
    ("rate", "calls", "transitions", "updates", "credit"), [(1.0, 1, 100, 80, 0.0), (0.5, 4, 105, 40, 2.5)]
)
def test_a_limiter_without_its_state_takes_what_was_earned_for_learnt(rate, calls, transitions, updates, credit):
    limiter = RateLimiter(rate, 20, calls, 1000)
    limiter.rebuild(transitions, True)
    assert (limiter.steps, limiter.updates, limiter.credit) == (transitions, updates, credit)
    lived = RateLimiter(rate, 20, calls, 1000)
    for _ in range(transitions):
        lived.add_steps(1, True)
        while lived.try_spend():
            pass
    assert lived.state() == limiter.state()
    free = UnlimitedRate(rate, 20, calls, 1000)
    free.rebuild(transitions, True)
    assert free.steps == transitions and free.try_spend()


# a population


def population(folder: Path) -> tuple[PopulationStore, Evolution]:
    evolution = Evolution(None, Cem(None), 3)
    evolution.members = {"learner-1": Member(assigned=1), "learner-2": Member()}
    evolution.generation, evolution.strategy.distribution = 1, ({"w": np.ones(2)}, {"w": np.ones(2)})
    shelf = PopulationStore(folder)
    shelf.save(evolution, {"learner-1": {"w": np.arange(2.0)}})
    return shelf, evolution


def restored(folder: Path) -> Evolution:
    evolution = Evolution(None, Cem(None), 0)
    PopulationStore(folder).load(evolution)
    return evolution


@WORSE
def test_a_torn_state_of_a_population_has_a_copy(tmp_path, caplog, tear):
    population(tmp_path)
    tear(tmp_path / "evolver" / "state.json")
    found = restored(tmp_path)
    assert (found.generation, found.members["learner-1"].assigned, found.seed) == (1, 1, 3)
    assert "state.json is damaged" in caplog.text and "its copy is used" in caplog.text
    (tmp_path / "evolver" / "copy_of_state.json").unlink()
    with pytest.raises(UserError, match="remove that folder to begin with a new one"):
        restored(tmp_path)


@WORSE
@pytest.mark.parametrize("name", ["generation.1.npz", "learner-1.1.npz", "../lineage.csv"])
def test_torn_files_beside_the_state_cost_what_is_in_them_and_no_more(tmp_path, caplog, tear, name):
    population(tmp_path)
    tear(tmp_path / "evolver" / name)
    found = restored(tmp_path)
    assert found.generation == 1
    assert (found.strategy.distribution is None) == (name == "generation.1.npz")
    assert (PopulationStore(tmp_path).networks("learner-1", 1) is None) == (name == "learner-1.1.npz")


def test_a_population_of_a_newer_version_is_refused_and_stays(tmp_path):
    population(tmp_path)
    file = tmp_path / "evolver" / "state.json"
    text = json.dumps({**json.loads(file.read_text()), "format": 2})
    file.write_text(text)
    with pytest.raises(UserError, match=r"made by a newer version .*its format is 2, this version reads 1"):
        restored(tmp_path)
    assert file.read_text() == text
