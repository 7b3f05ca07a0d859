"""Writes a policy as an ONNX file in the layout that Unity ML-Agents loads."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sac.errors import UserError
from sac.export.contract import IR_VERSION, MAX_OPSET, Contract
from sac.export.policy_module import PolicyModule
from sac.export.unity_operators import RANDOM_OPERATORS
from sac.files import replacing

INSTALL = 'install the extra: pip install -e ".[export]"'


def write_onnx(module: PolicyModule, path: Path, metadata: Mapping[str, str]) -> None:
    """Converts the module and writes it with its metadata.

    Raises UserError when a library is missing, a network has an operation that ONNX lacks, or the disk refuses.
    """
    model = to_onnx(module)
    onnx = _onnx()
    onnx.helper.set_model_props(model, {name: str(value) for name, value in metadata.items()})
    try:
        with replacing(path) as new:
            new.write_bytes(model.SerializeToString())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def to_onnx(module: PolicyModule) -> Any:
    """The module as an onnx.ModelProto, with the constants of its contract. Raises UserError as `write_onnx` does."""
    onnx = _onnx()
    with _quiet():
        try:
            import tf2onnx
        except ImportError as error:
            raise UserError(f"an ONNX file needs tf2onnx ({error}): {INSTALL}") from error
        try:
            model, _ = tf2onnx.convert.from_function(
                module.function(), [_spec(tensor) for tensor in module.contract.inputs], opset=MAX_OPSET
            )
        except (ValueError, NotImplementedError, RuntimeError) as error:
            why = str(error).strip().splitlines()[0]
            raise UserError(
                f"these networks cannot be converted to ONNX: {why}; change nn.py, or use --format savedmodel"
            ) from error
    _complete(model, module.contract, onnx)
    return model


def _complete(model: Any, contract: Contract, onnx: Any) -> None:
    """Gives the model its constants, the names and the order of its outputs, and the version of its file format."""
    graph, found = model.graph, {}
    for node in graph.node:
        _forget_seed(node)
    for output in graph.output:
        found[output.name.removesuffix(":0")] = output
    for tensor in contract.outputs:
        output = found[tensor.name]
        if output.name != tensor.name:
            graph.node.append(onnx.helper.make_node("Identity", [output.name], [tensor.name]))
        kind = onnx.TensorProto.INT32 if tensor.dtype == "int32" else onnx.TensorProto.FLOAT
        found[tensor.name] = onnx.helper.make_tensor_value_info(tensor.name, kind, ["batch", *tensor.shape])
    for name, value in contract.constants.items():
        graph.initializer.append(onnx.numpy_helper.from_array(value, f"{name}_value"))
        graph.node.append(onnx.helper.make_node("Identity", [f"{name}_value"], [name]))
        found[name] = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, value.shape)
    del graph.output[:]
    graph.output.extend(found[name] for name in contract.output_names)
    for tensor in graph.input:
        tensor.type.tensor_type.shape.dim[0].dim_param = "batch"
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)


def _forget_seed(node: Any) -> None:
    """Removes the seed that the conversion has written down: with it, Unity would draw the same noise at each step."""
    if node.op_type in RANDOM_OPERATORS:
        kept = [attribute for attribute in node.attribute if attribute.name != "seed"]
        del node.attribute[:]
        node.attribute.extend(kept)


def _spec(tensor: Any) -> Any:
    from sac.backend import tf

    return tf.TensorSpec((None, *tensor.shape), tensor.dtype, tensor.name)


def _onnx() -> Any:
    """Raises UserError when the library is not installed."""
    try:
        import onnx
    except ImportError as error:
        raise UserError(f"an ONNX file needs the package onnx: {INSTALL}") from error
    return onnx


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the progress messages of the converter off the screen."""
    names = [logging.getLogger(name) for name in ("tf2onnx", "tensorflow")]
    before = [logger.level for logger in names]
    for logger in names:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(names, before):
            logger.setLevel(level)
