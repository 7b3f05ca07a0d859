"""Checks an ONNX file against the contract without Unity: names, types, shapes, operators, and what it computes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sac.errors import UserError
from sac.export.contract import (
    CONTINUOUS,
    CONTINUOUS_MODE,
    DISCRETE,
    DISCRETE_MODE,
    IR_VERSION,
    MASKS,
    MAX_OPSET,
    RECURRENT_IN,
    RECURRENT_OUT,
    VERSION,
    Contract,
    TensorLayout,
)
from sac.export.unity_operators import RANDOM_OPERATORS, UNITY_OPERATORS

TOLERANCE = 1e-5  # of continuous actions, in units of half the range of an action
ALLOWED_TIES = 1e-3  # share of discrete choices that may differ, where two choices are equally good within rounding
MAX_RANK = 8  # of a tensor that Unity's engine takes
ONNX_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True)
class Examples:
    """Steps of a policy: the inputs of N agents in T steps, and the deterministic actions that the run itself takes.

    obs [T, N, ...] in the layout of the contract, masks [T, N, sum of branches] of ones and zeros.
    """

    obs: list[np.ndarray]
    masks: np.ndarray
    continuous: np.ndarray  # [T, N, A] in the scene's units
    discrete: np.ndarray  # [T, N, branches]
    half_range: np.ndarray | float = 1.0  # of each continuous action [A]
    memory: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0)))  # [T, N, M] of the deterministic actions
    source: str = ""  # words that say where the observations come from

    @property
    def count(self) -> int:
        return self.obs[0].shape[0] * self.obs[0].shape[1]


@dataclass(frozen=True)
class Checked:
    """What the checker found: `breaches` in words, and the largest difference of a continuous action from the run's."""

    breaches: list[str]
    largest_error: float = 0.0
    different_choices: float = 0.0


class Session(Protocol):
    """Runs a model; onnxruntime.InferenceSession is one."""

    def run(self, names: list[str] | None, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]: ...


def check(path: Path, contract: Contract, examples: Examples) -> Checked:
    """All breaches of the contract by a file. Raises UserError when it cannot be read or a library is missing."""
    model = _read(path)
    found = [*_file(model), *_inputs(model, contract), *_outputs(model, contract)]
    try:
        session = _session(path)
        first = _run(session, model, {t.name: np.zeros(_of_ones(t), np.float32) for t in contract.inputs})
    except Exception as error:  # the runtime has exceptions of its own for each kind of failure
        why = " ".join(str(error).split())[:300]
        return Checked([*found, f"it does not run with zeros for one agent, as Unity runs it first: {why}"])
    found += _first_run(first, contract)
    if found:  # the rest needs the names and shapes to be right
        return Checked(found)
    return _behaviour(session, model, contract, examples)


def _read(path: Path) -> Any:
    try:
        import onnx
    except ImportError as error:
        raise UserError(f'checking needs the package onnx: pip install -e ".[export]" ({error})') from error
    try:
        return onnx.load(str(path))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # protobuf's own
        raise UserError(f"{path} is no ONNX file: {' '.join(str(error).split())}") from error


def _session(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(f'checking needs the package onnxruntime: pip install -e ".[export]" ({error})') from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


# --- what the file says


def _file(model: Any) -> Iterator[str]:
    """Versions and operators."""
    opset = max((entry.version for entry in model.opset_import if entry.domain in ONNX_DOMAINS), default=0)
    if not 7 <= opset <= MAX_OPSET:
        yield f"opset {opset}: Unity's engines support 7 to {MAX_OPSET}"
    if model.ir_version > IR_VERSION:
        yield f"file format (IR version) {model.ir_version}: allowed is at most {IR_VERSION}"
    nodes = list(_nodes(model.graph))
    foreign = sorted({f"{n.domain}.{n.op_type}" for n in nodes if n.domain not in ONNX_DOMAINS})
    unknown = sorted({n.op_type for n in nodes if n.domain in ONNX_DOMAINS} - UNITY_OPERATORS)
    if any(n.op_type in RANDOM_OPERATORS and any(a.name == "seed" for a in n.attribute) for n in nodes):
        yield "a random operator has a seed: Unity would draw the same numbers at every step; remove the attribute"
    for name in [*foreign, *unknown]:
        yield f"operator {name}: Unity's engine does not have it; change the network that uses it"


def _nodes(graph: Any) -> Iterator[Any]:
    """The nodes of a graph and of the graphs inside them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.g.node:
                yield from _nodes(attribute.g)


def _inputs(model: Any, contract: Contract) -> Iterator[str]:
    constants = {tensor.name for tensor in model.graph.initializer}
    there = {value.name: value for value in model.graph.input if value.name not in constants}
    expected = {tensor.name: tensor for tensor in contract.inputs}
    for name in there.keys() - expected.keys():
        yield f"input {name}: Unity knows no such input and refuses the model; there are {', '.join(expected)}"
    for name, tensor in expected.items():
        if name not in there:
            yield f"input {tensor} is missing"
        else:
            yield from _declared(there[name], tensor, "input")


def _outputs(model: Any, contract: Contract) -> Iterator[str]:
    names = [value.name for value in model.graph.output]
    expected = {tensor.name: tensor for tensor in contract.outputs}
    for name in [*contract.constants, *expected]:
        first = next((other for other in names if name in other), None)
        if first is None:
            yield f"output {name} is missing" + (": Unity rejects the model" if name == VERSION else "")
        elif first != name:
            yield f"output {first} comes where Unity looks for {name}, since its name contains it: rename it"
    for value in model.graph.output:
        if value.name in expected:
            yield from _declared(value, expected[value.name], "output")


def _declared(value: Any, tensor: TensorLayout, kind: str) -> Iterator[str]:
    """What is wrong with the declared type and shape of an input or output."""
    import onnx

    found = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(found.elem_type).name
    if dtype != tensor.dtype:
        yield f"{kind} {tensor.name} has the type {dtype}: expected is {tensor.dtype}"
    dims = [d.dim_value if d.HasField("dim_value") else None for d in found.shape.dim]
    shown = [d if d is not None else "?" for d in dims]
    if len(dims) > MAX_RANK or dims[1:] != list(tensor.shape):
        yield f"{kind} {tensor.name} has the shape {shown}: expected is {['B', *tensor.shape]}, where only B may vary"
    elif dims[0] is not None:
        yield f"{kind} {tensor.name} is fixed to {dims[0]} agents: its first axis must be dynamic"


# --- what it computes


def _of_ones(tensor: TensorLayout) -> tuple[int, ...]:
    return (1, *tensor.shape)


def _run(session: Session, model: Any, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    constants = {tensor.name for tensor in model.graph.initializer}
    needed = [value.name for value in model.graph.input if value.name not in constants]
    outputs = session.run(None, {name: inputs[name] for name in needed if name in inputs})
    return dict(zip([value.name for value in model.graph.output], outputs))


def _first_run(outputs: Mapping[str, np.ndarray], contract: Contract) -> Iterator[str]:
    """What Unity would find in the outputs of the run with zeros."""
    for name, value in contract.constants.items():
        found = outputs.get(name)
        if found is None:
            continue  # is reported as missing
        if found.dtype != np.float32:
            yield f"output {name} has the type {found.dtype}: Unity reads it as float32"
        elif not np.array_equal(found.ravel(), value):
            yield f"output {name} is {found.ravel().tolist()}: this scene and this policy need {value.tolist()}"
    for tensor in contract.outputs:
        found = outputs.get(tensor.name)
        if found is None:
            continue
        if found.shape != _of_ones(tensor):
            expected = f"expected is {list(_of_ones(tensor))}"
            yield f"output {tensor.name} has the shape {list(found.shape)} for one agent: {expected}"
        elif not np.isfinite(found).all():
            yield f"output {tensor.name} is not finite for observations of 0"


def _behaviour(session: Session, model: Any, contract: Contract, examples: Examples) -> Checked:
    """Compares the deterministic actions of all examples with the run's own, and looks at the sampled ones."""
    found: list[str] = []
    steps, agents = examples.obs[0].shape[:2]
    names = {tensor.name for tensor in contract.inputs}
    memory = np.zeros((agents, *_shape_of(contract, RECURRENT_IN)), np.float32)
    errors, forgotten, different, drawn = [0.0], [0.0], [0.0], []
    for t in range(steps):
        inputs = {f"obs_{i}": x[t] for i, x in enumerate(examples.obs)}
        inputs |= {MASKS: examples.masks[t]} if MASKS in names else {}
        inputs |= {RECURRENT_IN: memory} if RECURRENT_IN in names else {}
        outputs = _run(session, model, inputs)
        drawn.append((outputs, examples.masks[t]))
        if CONTINUOUS_MODE in outputs:
            off = np.abs(outputs[CONTINUOUS_MODE] - examples.continuous[t]) / examples.half_range
            errors.append(float(off.max(initial=0)) if np.isfinite(off).all() else float("inf"))
        if DISCRETE_MODE in outputs:
            different.append(float((outputs[DISCRETE_MODE] != examples.discrete[t]).mean()))
        if RECURRENT_OUT in outputs:
            memory = outputs[RECURRENT_OUT]
            kept = memory[:, 0, : examples.memory.shape[-1]]
            forgotten.append(float(np.abs(kept - examples.memory[t]).max(initial=0)))
    share = float(np.sum(different)) / steps
    if max(errors) > TOLERANCE:
        found.append(
            f"its deterministic actions differ from the run's by up to {max(errors):.2g}: allowed is {TOLERANCE:g}"
        )
    if max(forgotten) > TOLERANCE and not share:  # another choice is another memory
        found.append(f"its memory differs from the run's by up to {max(forgotten):.2g}: allowed is {TOLERANCE:g}")
    if share > ALLOWED_TIES:
        found.append(f"{share:.1%} of its deterministic choices differ from the run's: allowed is {ALLOWED_TIES:.1%}")
    found += _samples(drawn, contract, examples)
    return Checked(found, max(errors + forgotten), share)


def _shape_of(contract: Contract, name: str) -> tuple[int, ...]:
    return next((tensor.shape for tensor in contract.inputs if tensor.name == name), (1, 0))


def _samples(
    drawn: list[tuple[dict[str, np.ndarray], np.ndarray]], contract: Contract, examples: Examples
) -> Iterator[str]:
    """What is wrong with the sampled actions: not finite, out of range, or forbidden."""
    for name in (CONTINUOUS, CONTINUOUS_MODE):
        values = [outputs[name] for outputs, _ in drawn if name in outputs]
        if values and not np.isfinite(values).all():
            yield f"output {name} holds values that are not finite"
    sizes = [int(size) for size in contract.constants.get("discrete_action_output_shape", np.zeros(0))]
    starts = np.cumsum([0, *sizes])[:-1].astype(int)
    for name in (DISCRETE, DISCRETE_MODE):
        for outputs, mask in drawn:
            if name not in outputs:
                break
            chosen = outputs[name]
            if (chosen < 0).any() or (chosen >= sizes).any():
                yield f"output {name} holds indices outside of the branches {sizes}"
                break
            if not (np.take_along_axis(mask, chosen + starts, axis=1) > 0).all():
                yield f"output {name} holds choices that action_masks forbids (1 = allowed)"
                break
