"""The durable replay: the plain one's twin, and whole again after any death."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import durable_child
import numpy as np
import pytest
from durable_child import CAPACITY, SOURCES, named, opened, rows
from ring_model import SPEC, STATE, Model, Player, Row, check_windows, chunk, make, prioritized

from sac.errors import UserError
from sac.replay import DurableReplay, DurableStats, Uniform, mmap_file
from sac.replay.running_stats import RunningStats
from sac.types import Sensor, Spec

NORMALISED = tuple(sensor for sensor in SPEC.sensors if sensor.normalizable)


def durable(folder, capacity, steps=3, burn_in=2, seed=9, uniform=False):
    sampler = Uniform(capacity) if uniform else prioritized(capacity)
    return DurableReplay(SPEC, STATE, sampler, folder, steps=steps, burn_in=burn_in, seed=seed)


def cycle(replay, player, rng, turns=25):
    """Everything a learner and its actors do, by a script; returns all that came out."""
    out = []
    for turn in range(turns):
        part = [
            r for _ in range(6) for r in player.rows(int(rng.integers(3)), rng.choice(["act"] * 8 + ["end", "time"]))
        ]
        out.append(replay.add(chunk(part)))
        if turn > 3:
            batch = replay.sample(8, 2)
            replay.update(batch.index, rng.random(batch.index.shape) * 2)
            replay.refresh(batch.index, np.full((*batch.index.shape, STATE), turn))
            out += [*batch.obs.values(), *batch[1:]]
        if turn % 7 == 6:
            out.append(replay.close_open_streams([1]))
        out.append(replay.legal)
        out += replay.state()[0].get("sampler/priority", np.zeros(0)).tolist()
        out += replay.metrics().values()
    return out


def assert_same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("uniform", [True, False])
@pytest.mark.parametrize("reopened", [False, True])
def test_the_same_script_gives_the_same_as_in_memory(tmp_path, uniform, reopened):
    """150 rows a cycle through a ring of 200; in between the files are closed and opened, or not."""
    plain, files = make(200, 3, 2, seed=9, uniform=uniform), durable(tmp_path, 200, uniform=uniform)
    players, rngs = (Player(), Player()), [np.random.default_rng(1) for _ in range(2)]
    transitions = 0
    for _ in range(4):
        one, other = (cycle(*these) for these in zip((plain, files), players, rngs))
        assert_same(one, other)
        assert plain.fill == files.fill and plain.log_prob_known == files.log_prob_known
        transitions += sum(x for x in one[:1])
        leaves = files.state()[0].get("sampler/priority", np.zeros(0))
        np.testing.assert_array_equal(files._arrays["priority"][: len(leaves)], leaves)
        if reopened:
            total, done, acked = files.total, files.transitions, files.acked(0)
            files.close()
            files = durable(tmp_path, 200, uniform=uniform)
            assert (files.total, files.transitions, files.acked(0)) == (total, done, acked)
    assert len(plain) == 200


def test_sources_do_not_share_streams_and_chunks_count_once(tmp_path):
    replay = durable(tmp_path, 50, 1, 0)
    assert replay.add_from(7, 1, chunk([Row(0, 1), Row(0, 2)])) == 0
    assert replay.add_from(8, 1, chunk([Row(0, 3)])) == 2
    assert replay.legal.tolist() == [0]
    assert replay.add_from(7, 1, chunk([Row(0, 1), Row(0, 2)])) is None
    assert replay.add_from(7, 2, chunk([Row(0, 4, final=True)])) == 3
    assert replay.legal.tolist() == [0, 1]
    assert (replay.acked(7), replay.acked(8), replay.acked(9)) == (2, 1, 0)
    assert replay.transitions == 3
    assert replay.close_source(8) == 1 and replay.close_source(8) == 0
    assert replay.acked(8) == 1
    assert replay.transitions == 3
    assert replay.add_from(8, 2, chunk([Row(0, 5)])) == 4
    assert replay.legal.tolist() == [0, 1]  # not linked to the one that was closed


@pytest.mark.parametrize(
    "wrong", [[Row(0, 1, discount=0.0), Row(0, 2)], [], [Row(0, i) for i in range(11)]], ids=["end", "empty", "long"]
)
def test_a_refused_chunk_takes_no_number(tmp_path, wrong):
    replay = durable(tmp_path, 10, 1, 0)
    step = chunk(wrong) if wrong else chunk([Row(0, 1)])._replace(stream=np.zeros(0, np.int64))
    with pytest.raises(ValueError):
        replay.add_from(5, 1, step)
    with pytest.raises(ValueError, match="column state"):
        replay.add_from(5, 1, chunk([Row(0, 1)])._replace(state=np.zeros((1, 9), np.float32)))
    with pytest.raises(ValueError, match="streams"):
        replay.add_from(5, 1, chunk([Row(0, 1)])._replace(stream=np.zeros((1, 1), np.int64)))
    assert (replay.acked(5), replay.total, replay.transitions) == (0, 0, 0)
    assert replay.add_from(5, 1, chunk([Row(0, 1)])) == 0


def test_what_is_remembered_of_sources_is_bounded(tmp_path):
    replay = durable(tmp_path, 20, 1, 0)
    for source in range(1, 200):
        replay.add_from(source, 1, chunk([Row(0, source), Row(1, source)]))
        replay.close_source(source)
        assert len(replay._ledger) <= 10
        assert len(replay._writer.open) == 0
        if source > 9:
            assert replay.acked(source - 9) == 1 and replay.acked(source - 10) == 0
    replay.close()
    assert list(durable(tmp_path, 20, 1, 0)._ledger) == list(range(190, 200))


def test_a_source_that_goes_on_hides_none_that_are_gone(tmp_path):
    replay = durable(tmp_path, 6, 1, 0)
    for seq in range(1, 10):
        replay.add_from(1, seq, chunk([Row(0, seq)]))
        replay.add_from(100 + seq, 1, chunk([Row(0, 50 + seq)]))
    assert list(replay._ledger) == [107, 108, 1, 109] and replay.acked(106) == 0


@pytest.mark.parametrize("rows_of_others", range(7))
def test_a_chunk_is_known_as_long_as_one_of_its_rows_lives(tmp_path, rows_of_others):
    """Sent again it is stored a second time only when nothing of it is left."""
    capacity, mine = 6, chunk([Row(0, 1), Row(0, 2)])
    replay = durable(tmp_path, capacity, 1, 0)
    replay.add_from(5, 1, mine)
    for seq in range(1, rows_of_others + 1):
        replay.add_from(6, seq, chunk([Row(0, 10 + seq)]))
    lives = rows_of_others < capacity  # rows 2, 3, ... of others: the last of mine, row 1, goes with row 7
    assert replay.acked(5) == int(lives)
    first = replay.add_from(5, 1, mine)
    assert first == (None if lives else 2 + rows_of_others)
    assert replay.total == 2 + rows_of_others + 2 * (not lives)


def test_rows_of_foreign_data_stay_foreign(tmp_path):
    replay = durable(tmp_path, 20, 1, 0)
    replay.add_foreign(chunk([Row(0, 1), Row(0, 2, final=True)]))
    replay.close()
    replay = durable(tmp_path, 20, 1, 0)
    assert not replay.log_prob_known
    replay.add(chunk([Row(0, i) for i in range(20)]))
    assert replay.log_prob_known


@pytest.mark.parametrize("of", ["plain", "durable"])
def test_a_saved_state_can_be_taken_in(tmp_path, of):
    original = make(60, 3, 2, seed=9) if of == "plain" else durable(tmp_path / "a", 60)
    player, rng = Player(), np.random.default_rng(0)
    cycle(original, player, rng)
    arrays, scalars = original.state()
    arrays, scalars = {name: array.copy() for name, array in arrays.items()}, json.loads(json.dumps(scalars))
    copy = durable(tmp_path / "b", 60)
    cycle(copy, Player(), np.random.default_rng(3))
    copy.restore(arrays, scalars)
    copy.close()
    copy = durable(tmp_path / "b", 60)
    assert len(copy._writer.open) == len(original._writer.open)
    np.testing.assert_array_equal(copy.legal, original.legal)
    assert_same(copy.sample(8, 2)[1:], original.sample(8, 2)[1:])
    if of == "plain":
        twin = Player()
        twin.tag = player.tag
        assert_same(cycle(original, player, np.random.default_rng(5)), cycle(copy, twin, np.random.default_rng(5)))
    again = make(60, 3, 2)
    again.take_over(*copy.state())
    assert not again._writer.open


class TornModel(Model):
    """Rows below `floor` are lost as well."""

    floor = 0

    def live(self, row):
        return row.number >= max(self.floor, self.total - self.capacity)


def check_against(replay, chunks, closed=()):
    """The replay holds what the model holds after these (source, seq) in this order, and none of it twice."""
    model = TornModel(replay.capacity, replay.steps)
    model.floor = replay._ring.floor
    transitions = 0
    for source, seq in chunks:
        part = named(source, seq)
        model.add(part)
        transitions += sum(not row.final for row in part)
    for source in closed:
        model.close([10 * SOURCES.index(source) + stream for stream in (0, 1)])
    assert replay.total == model.total
    assert replay.transitions == transitions
    check_windows(replay, model)
    leaves = replay._sampler.state(replay.capacity)[0]["priority"]
    np.testing.assert_array_equal(np.flatnonzero(leaves), np.sort(replay.legal % replay.capacity))
    newest = {}
    live = [row for history in model.histories for row in history if model.live(row)]
    owner = {row.tag: pair for pair in chunks for row in named(*pair)}
    for source, seq in (owner[row.tag] for row in live):
        newest[source] = max(seq, newest.get(source, 0))
    assert {source: replay.acked(source) for source in SOURCES} == {source: newest.get(source, 0) for source in SOURCES}
    heads = {(SOURCES[name // 10], name % 10): h[-1].number for name, h in model.open.items() if model.live(h[-1])}
    found = {name: recent[-1] for name, recent in replay._writer.open.items()}
    assert {name: number for name, number in found.items() if number >= replay._ring.oldest} == heads


def deaths(replay, work, folder):
    """Folders as a kill would leave them before each line of the replay that `work` runs, and behind the last one."""
    images = []

    def watch(frame, event, argument):
        if Path(frame.f_code.co_filename).parent.name != "replay" or "tests" in frame.f_code.co_filename:
            return None
        image = replay._memory[:]
        if not images or images[-1] != image:
            images.append(image)
        return watch

    before = sys.gettrace()
    sys.settrace(watch)
    try:
        work()
    finally:
        sys.settrace(before)
    images.append(replay._memory[:])
    for i, image in enumerate(images):
        copy = folder / f"image{i}"
        shutil.copytree(replay._folder, copy)
        (copy / "rows").write_bytes(image)
        yield copy


def assert_windows_equal(one, other):
    assert (one.total, one.transitions) == (other.total, other.transitions)
    index = one.legal
    np.testing.assert_array_equal(index, other.legal)
    windows = [replay.windows(index, np.ones(len(index))) for replay in (one, other)]
    assert_same(*([*batch.obs.values(), *batch[1:]] for batch in windows))


@pytest.mark.slow
@pytest.mark.parametrize(("capacity", "before", "turns"), [(64, 1, 6), (150, 6, 3)])
def test_death_at_any_line_of_an_insert(tmp_path, capacity, before, turns):
    """The chunk is there as a whole or not at all, and sending it again makes it so; so goes the next one."""
    replay, done = opened(tmp_path / "replay", capacity), []
    rng, seqs, seen = np.random.default_rng(4), dict.fromkeys(SOURCES, 0), set()
    for turn in range(before + turns):
        source = SOURCES[rng.integers(3)]
        seqs[source] += 1
        this = (source, seqs[source])
        insert = lambda: replay.add_from(*this, chunk(rows(*this)))  # noqa: E731, B023
        if turn < before:
            insert()
        for copy in deaths(replay, insert, tmp_path / str(turn)) if turn >= before else ():
            reborn = opened(copy, capacity)
            committed = reborn.total == replay.total
            seen.add((committed, reborn._ring.floor > 0))
            check_against(reborn, done + [this] * committed)
            assert (reborn.add_from(*this, chunk(rows(*this))) is None) == committed
            assert_windows_equal(reborn, replay)
            reborn.close()
            assert_windows_equal(opened(copy, capacity), replay)
        done.append(this)
        check_against(replay, done)
    assert seen == {(False, False), (False, True), (True, False)}


def test_death_at_any_line_of_a_close(tmp_path):
    """Each row that is closed is open still or final; closing again ends the rest."""
    replay = opened(tmp_path / "replay", 150)
    source = SOURCES[1]
    done = [(name, seq) for seq in (1, 2, 3) for name in SOURCES]
    for pair in done:
        replay.add_from(*pair, chunk(rows(*pair)))
    others = len([name for name in replay._writer.open if name[0] != source])
    seen = set()
    for copy in deaths(replay, lambda: replay.close_source(source), tmp_path):
        reborn = opened(copy, 150)
        seen.add(len(reborn._writer.open) - others)
        still = opened(shutil.copytree(copy, copy.with_suffix(".open")), 150)
        if len(still._writer.open) == others + 2:  # alive after all: the rows are what they were
            still.add_from(source, 4, chunk(rows(source, 4)))
            check_against(still, [*done, (source, 4)])
        reborn.close_source(source)
        check_against(reborn, done, closed=[source])
    assert seen == {0, 2}
    check_against(replay, done, closed=[source])


def test_a_row_torn_by_hand_is_not_live(tmp_path):
    """Half a row written over the oldest one, and links into rows that never came."""
    replay = durable(tmp_path, 12, 2, 1)
    for tag in range(20):
        replay.add_from(3, tag + 1, chunk([Row(0, tag)]))
    replay._arrays["stamp"][20 % 12] = -1
    replay._arrays["obs/x"][20 % 12, 0] = 12345
    replay._arrays["next"][19 % 12] = 20
    replay._arrays["total"][1 - replay._arrays["slot"][0]] = 21
    replay.close()
    replay = durable(tmp_path, 12, 2, 1)
    assert (replay._ring.oldest, replay.total, len(replay), replay.transitions) == (9, 20, 11, 20)
    assert replay.legal.tolist() == list(range(9, 18))
    assert not (replay.sample(200).obs["x"] == 12345).any()
    assert replay.add_from(3, 21, chunk([Row(0, 20)])) == 20
    assert replay.legal.tolist() == list(range(9, 19))


def killed_child(folder, seed, seconds, done):
    """Runs the child until it is killed; returns what it acknowledged."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    newest = dict.fromkeys(SOURCES, 0) | dict(done)  # the last of each
    command = [sys.executable, durable_child.__file__, *map(str, (folder, seed, *newest.values()))]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, env=env)
    try:
        first = child.stdout.readline()
        time.sleep(seconds)
    finally:
        child.kill()  # SIGKILL
        said = first + child.stdout.read()  # not communicate(): it passes over what readline() has buffered
        child.stdout.close()
        child.wait(30)
    assert first, "the child died by itself"
    return [tuple(map(int, line.split())) for line in said.decode().splitlines()]


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_kill_minus_nine_loses_nothing_that_was_acknowledged(tmp_path):
    rng, done, unsaid = np.random.default_rng(0), [], 0
    for turn in range(6):
        done += killed_child(tmp_path, turn, rng.uniform(0.02, 0.2), done)
        replay = opened(tmp_path)
        assert len(replay) <= CAPACITY
        tail = [(source, replay.acked(source)) for source in SOURCES]
        more = [pair for pair in tail if pair[1] and pair not in set(done)]
        assert len(more) <= 1  # committed, and killed before the word was out
        unsaid += len(more)
        done += more
        check_against(replay, done)
        for _ in range(20):
            batch = replay.sample(16)
            assert np.isin(batch.index, replay.legal).all()
        again, seq = done[-1]
        assert replay.add_from(again, seq, chunk(rows(again, seq))) is None
        assert replay.add_from(again, seq + 1, chunk(rows(again, seq + 1))) == replay.total - len(rows(again, seq + 1))
        done.append((again, seq + 1))
        check_against(replay, done)
        replay.close()
    assert sum(len(rows(*pair)) for pair in done) > 10 * CAPACITY


@pytest.mark.parametrize(
    ("spec", "state_size", "capacity", "words"),
    [
        (SPEC, 4, 30, r"column 'state' has shape \(3,\) float32 there, and shape \(4,\) float32"),
        (Spec(SPEC.sensors[:1], 2, (2, 3)), STATE, 30, "column 'obs/reward' has .* there, and no place"),
        (Spec((Sensor("x", (2,), "uint8"), *SPEC.sensors[1:]), 2, (2, 3)), STATE, 30, "'obs/x' .*float32 .*uint8"),
        (SPEC, STATE, 31, r"replay\.capacity=31: .*replay\.capacity=30"),
    ],
)
def test_files_of_another_run_are_refused(tmp_path, spec, state_size, capacity, words):
    replay = durable(tmp_path, 30)
    replay.add(chunk([Row(0, 1)]))
    replay.close()
    with pytest.raises(UserError, match=words):
        DurableReplay(spec, state_size, prioritized(capacity), tmp_path, steps=1)
    assert durable(tmp_path, 30, steps=1).total == 1  # another window length is none of the files' business


def test_damaged_and_half_made_files(tmp_path):
    durable(tmp_path, 30).close()
    with (tmp_path / "rows").open("r+b") as file:
        file.truncate(100)
    with pytest.raises(UserError, match="damaged"):
        durable(tmp_path, 30)
    (tmp_path / "layout.json").unlink()  # as if the making had been killed
    assert durable(tmp_path, 30).total == 0


def test_another_sampler_may_go_on(tmp_path):
    replay = durable(tmp_path, 30, uniform=True)
    replay.add(chunk([Row(0, i) for i in range(9)]))
    replay.close()
    assert durable(tmp_path, 30).sample(8).weight.tolist() == [1.0] * 8


def test_a_system_without_fallocate_writes_zeros(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    durable(tmp_path, 30).close()
    file = tmp_path / "rows"
    assert file.stat().st_blocks * 512 >= file.stat().st_size


def test_a_disk_that_tells_of_too_little_room(tmp_path, monkeypatch):
    monkeypatch.setattr(mmap_file.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6, 999))
    with pytest.raises(UserError, match=r"replay\.capacity=30 needs \d+ bytes of disk, .* has 999 free"):
        durable(tmp_path, 30)


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0 or sys.platform != "linux", reason="mounts need root")
@pytest.mark.parametrize("blind", [False, True])
def test_a_full_disk(tmp_path, monkeypatch, blind):
    """`blind`: the file system promises more than it holds."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", tmp_path], check=False).returncode:
        pytest.skip("no mounts here")
    try:
        if blind:
            monkeypatch.setattr(mmap_file.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, 10**9))
        with pytest.raises(UserError, match=r"replay\.capacity=3000 needs \d+ bytes of disk, .* free"):
            durable(tmp_path, 3000)
        assert not list(tmp_path.iterdir())
        durable(tmp_path, 100).close()
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


def stats_of(steps):
    stats = RunningStats(NORMALISED)
    for step in steps:
        stats.add(step)
    return stats


def assert_stats(found, steps):
    expected = stats_of(steps)
    assert found.count == expected.count
    for name, mean in expected.mean.items():
        np.testing.assert_allclose(found.mean[name], mean, rtol=1e-12)
        np.testing.assert_allclose(found.m2[name], expected.m2[name], rtol=1e-12)


@pytest.mark.parametrize(("every", "life"), [(0.0, 5), (3600.0, 30)])
def test_stats_count_every_row_once(tmp_path, every, life):
    """Cut off at any chunk, also between its commit and its count, through several turns of the ring."""
    replay, rng, seqs, steps = opened(tmp_path, 150), np.random.default_rng(2), dict.fromkeys(SOURCES, 0), []
    path = tmp_path / "moments.npz"
    stats = DurableStats(NORMALISED, replay, path, every=every)
    for turn in range(90):
        source = SOURCES[rng.integers(3)]
        seqs[source] += 1
        step = chunk(rows(source, seqs[source]))
        for _ in range(int(rng.integers(1, 3))):  # often sent twice
            if replay.add_from(source, seqs[source], step) is not None:
                steps.append(step)
                if turn % life:
                    stats.add(step)
                    stats.save_if_due()
        if turn % 4 == 1:
            replay.close_source(source)
        if turn % life == 0:  # a crash: what memory held is gone
            replay.close()
            replay = opened(tmp_path, 150)
            stats = DurableStats(NORMALISED, replay, path, every=every)
        assert_stats(stats, steps)
    assert replay.total > 5 * 150


def test_stats_of_another_replay_or_other_sensors_are_counted_anew(tmp_path):
    replay, step = durable(tmp_path / "a", 30), chunk([Row(0, 1), Row(0, 5), Row(0, 7)])
    replay.add(step)
    path = tmp_path / "moments.npz"
    assert DurableStats((), replay, path).count == 0
    assert_stats(DurableStats(NORMALISED, replay, path), [step])
    assert DurableStats(NORMALISED, durable(tmp_path / "b", 30), path).count == 0
