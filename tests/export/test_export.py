"""Exported policies act as the run's own, and draw from its distribution."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from sac.errors import UserError
from sac.export import numpy_player
from sac.export.checker import check
from sac.export.contract import MASKS
from sac.export.other_formats import write_numpy, write_saved_model
from tests.agent.agent_kit import set_policy_head
from tests.export.export_kit import KINDS, Exported

pytestmark = pytest.mark.slow
PLAIN = [
    "continuous",
    "in units of the environment",
    "normalised",
    "branches",
    "joined branches",
    "hybrid",
    "extra sensor",
]
CELL = 20  # agents in each run of the sampling test, so that a batch is no power of two


@pytest.mark.parametrize("kind", KINDS)
def test_an_onnx_file_keeps_the_contract_and_acts_as_the_run(kind, tmp_path):
    exported = Exported(kind, tmp_path)
    found = check(exported.write(), exported.contract, exported.examples)
    assert found.breaches == []
    assert found.largest_error < 1e-5 and exported.examples.count == 1000


@pytest.mark.parametrize("kind", ["gru", "recurrent hybrid, joined"])
def test_a_memory_is_compared_over_fifty_steps(kind, tmp_path):
    exported = Exported(kind, tmp_path)
    assert exported.examples.obs[0].shape[:2] == (50, 20)
    memory = {t.name: t.shape for t in exported.contract.inputs}["recurrent_in"]
    assert memory == (1, 2 * (exported.agent.state_size + exported.agent.previous_size))


def sampled(path, examples, times: int) -> dict[str, np.ndarray]:
    """The outputs for the first observation, drawn `times` times."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    inputs = {f"obs_{i}": np.repeat(x[0, :1], times, axis=0) for i, x in enumerate(examples.obs)}
    if MASKS in {value.name for value in session.get_inputs()}:
        inputs[MASKS] = np.repeat(examples.masks[0, :1], times, axis=0)
    return dict(zip([value.name for value in session.get_outputs()], session.run(None, inputs)))


def test_samples_have_the_spread_of_the_policy(tmp_path):
    exported = Exported("continuous", tmp_path)
    set_policy_head(exported.agent, [0.3, -0.2, np.log(0.5), np.log(0.1)])
    raw = np.arctanh(sampled(exported.write(), exported.examples, 20_000)["continuous_actions"])
    np.testing.assert_allclose(raw.mean(axis=0), [0.3, -0.2], atol=0.02)
    np.testing.assert_allclose(raw.std(axis=0), [0.5, 0.1], rtol=0.03)
    assert abs(np.corrcoef(raw.T)[0, 1]) < 0.03  # each action has noise of its own


def test_samples_of_choices_have_the_policys_probabilities(tmp_path):
    exported = Exported("discrete", tmp_path)
    probabilities = np.array([0.5, 0.2, 0.2, 0.1, 1e-9])
    set_policy_head(exported.agent, np.log(probabilities))
    drawn = sampled(exported.write(), exported.examples, 20_000)["discrete_actions"][:, 0]
    np.testing.assert_allclose(np.bincount(drawn, minlength=5) / 20_000, probabilities, atol=0.015)


@pytest.mark.parametrize("kind", ["continuous", "discrete"])
def test_noise_has_no_seed_and_every_run_draws_anew(kind, tmp_path):
    import tensorflow as tf

    exported = Exported(kind, tmp_path)
    tf.random.set_seed(1)  # which the conversion would write into the file
    path = exported.write()
    (name,) = (t.name for t in exported.contract.outputs if not t.name.startswith("deterministic_"))
    assert [a.name for n in onnx.load(path).graph.node if "Random" in n.op_type for a in n.attribute] == ["dtype"]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    inputs = {value.name: np.ones((50, *value.shape[1:]), np.float32) for value in session.get_inputs()}
    first, second = (session.run([name], inputs)[0] for _ in range(2))
    assert not np.array_equal(first, second)


def test_a_forbidden_choice_is_never_taken(tmp_path):
    exported = Exported("joined branches", tmp_path)
    session = onnxruntime.InferenceSession(str(exported.write()), providers=["CPUExecutionProvider"])
    mask = np.tile(np.array([[0, 1, 1, 1, 0, 0, 1]], np.float32), (500, 1))  # branches of 3, 2 and 2 choices
    outputs = session.run(["discrete_actions", "deterministic_discrete_actions"], {
        "obs_0": np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32), MASKS: mask,
    })  # fmt: skip
    for chosen in outputs:
        assert chosen.dtype == np.int32 and chosen.shape == (500, 3)
        assert set(chosen[:, 0]) <= {1, 2} and set(chosen[:, 1]) == {0} and set(chosen[:, 2]) == {1}
    assert set(outputs[0][:, 0]) == {1, 2}


def test_the_file_has_the_version_that_every_engine_reads(tmp_path):
    model = onnx.load(str(Exported("gru", tmp_path).write()))
    assert [(e.domain, e.version) for e in model.opset_import if e.domain == ""] == [("", 15)] and model.ir_version == 8
    assert {node.op_type for node in model.graph.node}.isdisjoint({"Loop", "GRU", "LSTM", "Scan", "If"})
    assert [value.name for value in model.graph.output] == [
        "version_number", "memory_size", "continuous_actions", "continuous_action_output_shape",
        "deterministic_continuous_actions", "recurrent_out",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", PLAIN)
def test_the_numpy_player_acts_as_the_run(kind, tmp_path):
    exported = Exported(kind, tmp_path)
    player = write_numpy(exported.agent, exported.scene, tmp_path / "policy.npz")
    spec = importlib.util.spec_from_file_location("copied_player", player)
    copied = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copied)
    examples = exported.examples
    mask = examples.masks[0] if exported.scene.branches else None
    action, chosen = copied.Policy(tmp_path / "policy.npz")([x[0] for x in examples.obs], mask)
    np.testing.assert_allclose(action, examples.continuous[0], atol=1e-4)
    assert (chosen != examples.discrete[0]).sum() <= 1


def test_the_numpy_player_needs_numpy_only():
    text = Path(numpy_player.__file__).read_text()
    assert [line for line in text.splitlines() if "import" in line] == ["import numpy as np"]


@pytest.mark.parametrize("kind", ["pictures", "gru", "by the critics"])
def test_the_numpy_player_is_refused_for_networks_that_it_cannot_play(kind, tmp_path):
    exported = Exported(kind, tmp_path)
    with pytest.raises(UserError, match="--format numpy takes the default networks"):
        write_numpy(exported.agent, exported.scene, tmp_path / "policy.npz")


@pytest.mark.parametrize("kind", ["hybrid, joined", "lstm"])
def test_a_saved_model_acts_as_the_run(kind, tmp_path):
    import tensorflow as tf

    exported = Exported(kind, tmp_path)
    write_saved_model(exported.module, tmp_path / "saved")
    loaded = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"]
    examples, memory = exported.examples, None
    for t in range(len(examples.obs[0])):
        inputs = {f"obs_{i}": tf.constant(x[t]) for i, x in enumerate(examples.obs)}
        inputs |= {MASKS: tf.constant(examples.masks[t])} if exported.scene.branches else {}
        if exported.agent.state_size:
            zero = tf.zeros((20, 1, exported.module.memory_size * 2))
            inputs["recurrent_in"] = zero if memory is None else memory
        outputs = loaded(**inputs)
        memory = outputs.get("recurrent_out")
        np.testing.assert_allclose(outputs["deterministic_continuous_actions"], examples.continuous[t], atol=1e-5)
