"""The only module that imports TensorFlow: `from sac.backend import keras, tf, tfd`.

TensorFlow's C++ code writes lines at start-up before any log level is read. File descriptor 2 therefore points at a
temporary file during the import; its content is shown only if the import fails.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import tempfile
import weakref
from collections.abc import Callable, Hashable, Iterator
from typing import Any, TypeAlias

import numpy as np

from sac.errors import UserError

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    try:
        sys.stderr.flush()
        kept = os.dup(2)
    except (AttributeError, OSError, ValueError):  # no usable stderr (a Windows GUI program)
        yield
        return
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 2)
        try:
            yield
        except BaseException:
            sink.seek(0)
            os.write(kept, sink.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


with _quiet_stderr():
    import keras
    import tensorflow as tf
    import tensorflow_probability as tfp

tfd = tfp.distributions
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
    with _quiet_stderr():
        tf.function(lambda x: x + 1.0, jit_compile=True)(tf.constant(0.0))


class Compiled:
    """A compiled function for inputs of a few shapes, called without tf.function's dispatch (half the CPU time).

    `jit` compiles it with XLA.
    """

    def __init__(self, function: Callable[..., Any], jit: bool):
        self.jit = jit
        self._function = tf.function(function, jit_compile=jit, autograph=False)
        self._of_shape: dict[Hashable, Any] = {}

    def __call__(self, key: Hashable, *inputs: Any) -> Any:
        """Calls the function on tensors or arrays in any structure; `key` stands for the shapes of the inputs.

        Compiles once for each key. Raises UserError when XLA cannot compile a user's network.
        """
        inputs = tf.nest.map_structure(tf.convert_to_tensor, inputs)
        try:
            if key not in self._of_shape:
                self._of_shape[key] = self._function.get_concrete_function(*inputs)
                # Frees the graph with this object. At exit that is not needed, as the process ends.
                weakref.finalize(self, self._of_shape[key].graph.Dismantle).atexit = False
            return self._of_shape[key](*inputs)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
            if self.jit and ("XLA" in str(error) or "compile" in str(error)):
                advice = "set sac.jit=false to run without it"
                raise UserError(f"XLA cannot compile a network of nn.py; {advice} ({error})") from error
            raise


class ForAnyNumber:
    """A compiled function of rows: any number of them needs only a handful of compilations."""

    def __init__(self, function: Callable[..., Any], jit: bool):
        self._compiled = Compiled(function, jit)

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
