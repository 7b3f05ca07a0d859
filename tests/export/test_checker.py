"""The checker finds each breach of ML-Agents' contract."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sac.errors import UserError
from sac.export.checker import check
from tests.export.export_kit import Exported

pytestmark = pytest.mark.slow
HYBRID, MEMORY, PICTURES = "hybrid, joined", "gru", "pictures"


def output(model, name):
    return next(value for value in model.graph.output if value.name == name)


def given(model, name):
    return next(value for value in model.graph.input if value.name == name)


def drop_output(name):
    return lambda model: model.graph.output.remove(output(model, name))


def constant(name, value):
    def change(model):
        old = next(t for t in model.graph.initializer if t.name == f"{name}_value")
        array = np.asarray(value)
        old.CopyFrom(numpy_helper.from_array(array, f"{name}_value"))
        output(model, name).type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(array.dtype)
        del output(model, name).type.tensor_type.shape.dim[:]
        output(model, name).type.tensor_type.shape.dim.extend([onnx.TensorShapeProto.Dimension(dim_value=array.size)])

    return change


def replaced(model, name, by):
    """Puts nodes behind an output, whose old value is called `name_before`."""
    for node in model.graph.node:
        node.output[:] = [f"{name}_before" if o == name else o for o in node.output]
        node.input[:] = [f"{name}_before" if i == name else i for i in node.input]
    model.graph.node.extend(by)


def int64_choices(model):
    replaced(model, "discrete_actions", [
        helper.make_node("Cast", ["discrete_actions_before"], ["discrete_actions"], to=TensorProto.INT64)
    ])  # fmt: skip
    output(model, "discrete_actions").type.tensor_type.elem_type = TensorProto.INT64


def inverted_mask(model):
    for node in model.graph.node:
        node.input[:] = ["allowed" if name == "action_masks" else name for name in node.input]
    one = numpy_helper.from_array(np.ones(1, np.float32), "mask_one")
    model.graph.initializer.append(one)
    model.graph.node.insert(0, helper.make_node("Sub", ["mask_one", "action_masks"], ["allowed"]))


def shifted(model):
    small = numpy_helper.from_array(np.full(1, 1e-3, np.float32), "small")
    model.graph.initializer.append(small)
    name = "deterministic_continuous_actions"
    replaced(model, name, [helper.make_node("Add", [f"{name}_before", "small"], [name])])


def forgetful(model):
    """Forgets all but the newest step, which only a comparison over steps can notice."""
    zero = numpy_helper.from_array(np.zeros(1, np.float32), "zero")
    model.graph.initializer.append(zero)
    replaced(model, "recurrent_out", [helper.make_node("Mul", ["recurrent_out_before", "zero"], ["recurrent_out"])])


def one_more_input(model):
    model.graph.input.append(helper.make_tensor_value_info("temperature", TensorProto.FLOAT, ["batch", 1]))


def renamed_input(model):
    for node in model.graph.node:
        node.input[:] = ["vector" if name == "obs_0" else name for name in node.input]
    given(model, "obs_0").name = "vector"


def ambiguous(model):
    """An output in front whose name contains one that Unity looks for."""
    model.graph.node.append(helper.make_node("Identity", ["recurrent_out"], ["old_recurrent_out"]))
    value = helper.make_tensor_value_info("old_recurrent_out", TensorProto.FLOAT, ["batch", 1, None])
    model.graph.output.insert(0, value)


def channels_last(model):
    shape = given(model, "obs_0").type.tensor_type.shape
    shape.dim[1].dim_value, shape.dim[3].dim_value = shape.dim[3].dim_value, shape.dim[1].dim_value
    model.graph.node.insert(0, helper.make_node("Transpose", ["obs_0"], ["turned"], perm=[0, 3, 1, 2]))
    for node in list(model.graph.node)[1:]:
        node.input[:] = ["turned" if name == "obs_0" else name for name in node.input]


def erfc(model):
    name = "deterministic_continuous_actions"
    replaced(model, "deterministic_continuous_actions", [helper.make_node(
        "Erfc", [f"{name}_before"], [name], domain="ai.onnx.contrib"
    )])  # fmt: skip
    model.opset_import.append(helper.make_opsetid("ai.onnx.contrib", 1))


def dynamic_width(model):
    given(model, "obs_0").type.tensor_type.shape.dim[1].Clear()


def fixed_batch(model):
    given(model, "obs_0").type.tensor_type.shape.dim[0].Clear()
    given(model, "obs_0").type.tensor_type.shape.dim[0].dim_value = 1


def seeded(model):
    node = next(node for node in model.graph.node if node.op_type.startswith("Random"))
    node.attribute.append(helper.make_attribute("seed", 3.0))


def not_finite(model):
    zero = numpy_helper.from_array(np.zeros(1, np.float32), "zero")
    model.graph.initializer.append(zero)
    replaced(model, "continuous_actions", [
        helper.make_node("Div", ["zero", "zero"], ["nan"]),
        helper.make_node("Add", ["continuous_actions_before", "nan"], ["continuous_actions"]),
    ])  # fmt: skip


PLANTED = {
    "no version": (HYBRID, drop_output("version_number"), "output version_number is missing: Unity rejects"),
    "an old version": (HYBRID, constant("version_number", np.float32([1])), r"version_number is \[1.0\]"),
    "version as an integer": (HYBRID, constant("version_number", np.int64([3])), "int64: Unity reads it as float32"),
    "memory size without memory": (MEMORY, constant("memory_size", np.float32([0])), r"memory_size is \[0.0\]"),
    "another action size": (
        HYBRID, constant("continuous_action_output_shape", np.float32([3])), "continuous_action_output_shape is",
    ),
    "other branches": (
        HYBRID, constant("discrete_action_output_shape", np.float32([2, 3])), "discrete_action_output_shape is",
    ),
    "no deterministic output": (
        HYBRID, drop_output("deterministic_discrete_actions"), "deterministic_discrete_actions is missing",
    ),
    "choices as int64": (HYBRID, int64_choices, "discrete_actions has the type int64: expected is int32"),
    "an unknown input": (HYBRID, one_more_input, "input temperature: Unity knows no such input"),
    "an input of another name": (HYBRID, renamed_input, r"input obs_0 float32 \[B, 3\] is missing"),
    "a name inside another": (MEMORY, ambiguous, "output old_recurrent_out comes where Unity looks for recurrent_out"),
    "pictures with channels last": (PICTURES, channels_last, r"expected is \['B', 3, 20, 20\]"),
    "an operator without an engine": (HYBRID, erfc, "operator ai.onnx.contrib.Erfc: Unity's engine does not have it"),
    "a width that varies": (HYBRID, dynamic_width, "input obs_0 has the shape .* where only B may vary"),
    "one agent only": (HYBRID, fixed_batch, "input obs_0 is fixed to 1 agents"),
    "a mask with 1 = forbidden": (HYBRID, inverted_mask, "deterministic choices differ|action_masks forbids"),
    "other actions": (HYBRID, shifted, "deterministic actions differ from the run's by up to 0.001"),
    "a memory that is not kept": (MEMORY, forgetful, "deterministic actions differ from the run's"),
    "a newer opset": (
        HYBRID, lambda model: setattr(model.opset_import[0], "version", 18), "opset 18: .* support 7 to 15",
    ),
    "a newer file format": (HYBRID, lambda model: setattr(model, "ir_version", 10), "IR version. 10: allowed"),
    "noise with a seed": (HYBRID, seeded, "a random operator has a seed"),
    "samples that are not finite": (HYBRID, not_finite, "continuous_actions is not finite"),
}  # fmt: skip


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return {kind: Exported(kind, tmp_path_factory.mktemp("policy")) for kind in (HYBRID, MEMORY, PICTURES)}


@pytest.mark.parametrize("name", PLANTED)
def test_a_breach_is_found(exported, name):
    kind, change, words = PLANTED[name]
    policy = exported[kind]
    found = check(policy.write(change), policy.contract, policy.examples).breaches
    assert any(re.search(words, breach) for breach in found), found


def test_without_a_change_nothing_is_found(exported):
    for policy in exported.values():
        assert check(policy.write(), policy.contract, policy.examples).breaches == []


@pytest.mark.parametrize(("content", "words"), [(None, "cannot read"), (b"no model", "is no ONNX file|does not run")])
def test_a_file_that_is_none_is_refused_in_words(exported, tmp_path, content, words):
    policy, path = exported[MEMORY], tmp_path / "x.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=words):
        check(path, policy.contract, policy.examples)
