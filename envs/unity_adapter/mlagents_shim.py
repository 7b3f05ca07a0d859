"""Makes mlagents-envs 0.28 importable with modern protobuf, Python and NumPy, without changing its files.

Its generated `*_pb2.py` files build descriptors by hand, which protobuf >= 4 forbids. Each of them also contains the
serialized FileDescriptorProto as a literal. A finder for these modules only reads the literal from the source and
passes it to the builder of protobuf.
"""

from __future__ import annotations

import ast
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np

PACKAGE = "mlagents_envs.communicator_objects"


def install() -> None:
    """Installs the finder; must be called before the first import of `mlagents_envs`. Further calls do nothing."""
    if not any(isinstance(finder, _ProtoFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _ProtoFinder())
    _provide_strict_version()
    if not hasattr(np, "bool"):  # removed in NumPy 1.24, back in 2.0
        np.bool = np.bool_  # type: ignore[misc]  # a class of NumPy 2, which is absent here


class _ProtoFinder(importlib.abc.MetaPathFinder):
    """Finds the generated `*_pb2` modules and loads them by `_ProtoLoader`."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if not fullname.startswith(PACKAGE + ".") or not fullname.endswith("_pb2"):
            return None
        found = importlib.machinery.PathFinder.find_spec(fullname, path)
        if found is None or found.origin is None:
            return None
        return importlib.util.spec_from_loader(fullname, _ProtoLoader(found.origin), origin=found.origin)


class _ProtoLoader(importlib.abc.Loader):
    """Builds a generated module from the descriptor literal in its source file."""

    def __init__(self, source: str) -> None:
        self.source = source

    def create_module(self, spec: ModuleSpec) -> None:
        """None lets Python make an empty module."""

    def exec_module(self, module: Any) -> None:
        from google.protobuf import descriptor_pb2, descriptor_pool
        from google.protobuf.internal import builder

        serialized = serialized_descriptor(Path(self.source).read_text("utf-8"))
        for dependency in descriptor_pb2.FileDescriptorProto.FromString(serialized).dependency:
            importlib.import_module(dependency.removesuffix(".proto").replace("/", ".") + "_pb2")
        module.DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(serialized)
        builder.BuildMessageAndEnumDescriptors(module.DESCRIPTOR, module.__dict__)
        builder.BuildTopDescriptorsAndMessages(module.DESCRIPTOR, module.__name__, module.__dict__)


def serialized_descriptor(source: str) -> bytes:
    """The FileDescriptorProto in the source of a generated module: `FileDescriptor(..., serialized_pb=_b('...'))`.

    Raises:
      ImportError: the source has no such literal, as in other releases of mlagents-envs.
    """
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.keyword) or node.arg != "serialized_pb":
            continue
        value = node.value.args[0] if isinstance(node.value, ast.Call) else node.value
        literal = value.value if isinstance(value, ast.Constant) else None
        if isinstance(literal, bytes | str):
            return literal if isinstance(literal, bytes) else literal.encode("latin1")
    raise ImportError("no serialized_pb in a generated module of mlagents_envs: the release 0.28.0 is needed")


class StrictVersion:
    """The part of `distutils.version.StrictVersion` that mlagents_envs uses; Python 3.12 has removed the original."""

    def __init__(self, text: str) -> None:
        numbers = [int(part) for part in text.split(".")[:3]]
        self.version = tuple(numbers + [0] * (3 - len(numbers)))


def _provide_strict_version() -> None:
    """Registers a module `distutils.version` where Python has none."""
    if "distutils" in sys.modules or importlib.util.find_spec("distutils") is not None:
        return
    package: Any
    version: Any
    package, version = types.ModuleType("distutils"), types.ModuleType("distutils.version")
    package.__path__, package.version, version.StrictVersion = [], version, StrictVersion
    sys.modules.setdefault("distutils", package)
    sys.modules.setdefault("distutils.version", version)
