"""The only module that imports TensorFlow: `from sac.backend import keras, tf, tfd`.

TensorFlow Probability, `tfp` and its distributions `tfd`, is imported when it is first used: that takes a second.

TensorFlow's C++ code writes lines at start-up before any log level is read. File descriptor 2 therefore points at a
temporary file during the import; its content is shown only if the import fails.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
import tempfile
import weakref
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from sac.errors import UserError

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")


FLAGS, CACHE_FOLDER = "TF_XLA_FLAGS", re.compile(r"--tf_xla_persistent_cache_directory=(\S+)")
NUMBERS_OF_A_FUNCTION = 10_000  # TensorFlow's numbers for what one function contains: more than any has
ANY_LINE = b""
# What TensorFlow says when it reads an entry of its compile cache: it tries text first, and all entries are binary.
SAID_BY_THE_CACHE = b"Error parsing text-format tensorflow.XlaSerializedCacheEntry"
# On some processors it warns of its own compiler's wishes, such as +prefer-no-gather, which no host "supports".
SAID_OF_WISHES = b"Target machine feature +prefer-"
SAID_BEFORE_IT = b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR"


@contextlib.contextmanager
def _stderr_without(*unwanted: bytes) -> Iterator[None]:
    """A context that keeps lines with one of these texts off file descriptor 2; ANY_LINE hides all but after errors."""
    try:
        sys.stderr.flush()
        kept = os.dup(2)
    except (AttributeError, OSError, ValueError):  # no usable stderr (a Windows GUI program)
        yield
        return
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 2)
        hidden = unwanted
        try:
            yield
        except BaseException:
            hidden = tuple(text for text in unwanted if text != ANY_LINE)
            raise
        finally:
            os.dup2(kept, 2)
            sink.seek(0)
            os.write(kept, b"".join(line for line in sink if not any(text in line for text in hidden)))
            os.close(kept)


@contextlib.contextmanager
def _without_module(name: str) -> Iterator[None]:
    """A context in which importing this optional module fails, unless it is loaded already."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # what Python documents for this purpose
    try:
        yield
    finally:
        del sys.modules[name]


# Keras would import pyplot for pictures that we do not draw, which takes another second.
with _stderr_without(ANY_LINE), _without_module("matplotlib.pyplot"):
    import keras
    import tensorflow as tf

if TYPE_CHECKING:
    import tensorflow_probability as tfp

    tfd = tfp.distributions


def __getattr__(name: str) -> Any:
    """Imports TensorFlow Probability for `tfp` and `tfd`."""
    if name not in ("tfp", "tfd"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with _stderr_without(ANY_LINE):
        import tensorflow_probability
    globals().update(tfp=tensorflow_probability, tfd=tensorflow_probability.distributions)
    return globals()[name]


Tensor: TypeAlias = tf.Tensor  # or what TensorFlow takes for one; docstrings give its shape in brackets


def start(threads: int | None) -> None:
    """Sets the number of threads (None: all cores) and starts TensorFlow and XLA, without their start-up lines.

    Raises RuntimeError when TensorFlow has already started with another number of threads.
    """
    if threads is not None:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    _start_quietly()


@functools.cache  # once per process: each job in it would compile the function again
def _start_quietly() -> None:
    with _stderr_without(ANY_LINE):
        tf.function(lambda x: x + 1.0, jit_compile=True)(tf.constant(0.0))


def _begin_at_a_round_number() -> None:
    """Functions are named by a counter, and the compile cache knows them by these names.

    A round number makes them independent of how many functions were made before.
    """
    try:
        from tensorflow.python.framework.ops import uid
    except ImportError:  # it is private: without it the cache is of less use
        return
    while uid() % NUMBERS_OF_A_FUNCTION:
        pass


def _emptied_cache() -> bool:
    """Removes the entries of the compile cache; returns whether there were any."""
    found = CACHE_FOLDER.search(os.environ.get(FLAGS, ""))
    entries = list(Path(found[1]).glob("*.pb")) if found else []
    for entry in entries:
        entry.unlink(missing_ok=True)
    return bool(entries)


class Compiled:
    """A compiled function for inputs of a few shapes, called without tf.function's dispatch (half the CPU time).

    `jit` compiles it with XLA.
    """

    def __init__(self, function: Callable[..., Any], jit: bool):
        self.jit = jit
        self._function = function
        self.of_shape: dict[Hashable, Any] = {}  # the traced functions by their keys

    def __call__(self, key: Hashable, *inputs: Any) -> Any:
        """Calls the function on tensors or arrays in any structure; `key` stands for the shapes of the inputs.

        Compiles once for each key. Raises UserError when XLA cannot compile a user's network.
        """
        inputs = tf.nest.map_structure(tf.convert_to_tensor, inputs)
        compiled = self.of_shape.get(key)
        return self._compiled(key, inputs) if compiled is None else compiled(*inputs)

    def _compiled(self, key: Hashable, inputs: tuple) -> Any:
        """Traces the function and calls it for the first time, whereby XLA compiles it or finds it in its cache."""
        try:
            try:
                return self._traced_and_called(key, inputs)
            except tf.errors.OpError:
                # TensorFlow raises an error for an entry of its cache that it cannot read, and raises it again for the
                # same function. Nothing has been computed then.
                if not (self.jit and _emptied_cache()):
                    raise
                return self._traced_and_called(key, inputs)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
            if self.jit and ("XLA" in str(error) or "compile" in str(error)):
                advice = "set sac.jit=false to run without it"
                raise UserError(f"XLA cannot compile a network of nn.py; {advice} ({error})") from error
            raise

    def _traced_and_called(self, key: Hashable, inputs: tuple) -> Any:
        _begin_at_a_round_number()
        function = tf.function(self._function, jit_compile=self.jit, autograph=False).get_concrete_function(*inputs)
        # Frees the graph with this object. At exit that is not needed, as the process ends.
        weakref.finalize(self, function.graph.Dismantle).atexit = False
        with _stderr_without(SAID_BY_THE_CACHE, SAID_OF_WISHES, SAID_BEFORE_IT):
            found = function(*inputs)
        self.of_shape[key] = function
        return found


class ForAnyNumber:
    """A compiled function of rows: any number of them needs only a handful of compilations."""

    def __init__(self, function: Callable[..., Any], jit: bool):
        self._compiled = Compiled(function, jit)

    @property
    def compilations(self) -> int:
        """How often the function was traced."""
        return len(self._compiled.of_shape)

    def __call__(self, rows: tuple, *shared: Any) -> Any:
        """Calls the function on `rows`, arrays [k, ...] with k > 0 in any structure, and on what all rows share.

        Returns arrays [k, ...]. Rows are padded to a power of two with copies of the first one.
        """
        k = len(tf.nest.flatten(rows)[0])
        more = (1 << (k - 1).bit_length()) - k
        if more:
            rows = tf.nest.map_structure(lambda x: np.concatenate([x, np.repeat(x[:1], more, 0)]), rows)
        return tf.nest.map_structure(lambda x: x.numpy()[:k], self._compiled(k + more, *rows, *shared))


def seed_everything(seed: int) -> None:
    """Seeds Python, NumPy and the initialisers of Keras; the agent's later draws come from (seed, counter)."""
    keras.utils.set_random_seed(seed)


__all__ = ["Compiled", "ForAnyNumber", "Tensor", "keras", "seed_everything", "start", "tf", "tfd", "tfp"]
