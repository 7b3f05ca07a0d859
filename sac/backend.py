"""The one door through which TensorFlow comes in: `from sac.backend import keras, tf, tfd`.

TensorFlow's start-up lines are written by C++ before any log level is read, so file descriptor 2 points at a
temporary file during the import; what was written there is shown only if the import fails.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import tempfile
import weakref

import numpy as np

from sac.errors import UserError

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")


@contextlib.contextmanager
def _quiet_stderr():
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

tfb, tfd = tfp.bijectors, tfp.distributions


def start(threads: int | None) -> None:
    """Fixes the number of threads (None: all cores) and lets TensorFlow and XLA say their start-up lines unheard.

    Raises RuntimeError when TensorFlow has already started with another number.
    """
    if threads is not None:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    _speak_unheard()


@functools.cache  # once in a process: its jobs would each compile it anew
def _speak_unheard() -> None:
    with _quiet_stderr():
        tf.function(lambda x: x + 1.0, jit_compile=True)(tf.constant(0.0))


class Compiled:
    """A compiled function for inputs of a few shapes, called without tf.function's dispatch (half the CPU time)."""

    def __init__(self, function, jit: bool):
        self.jit = jit
        self._function = tf.function(function, jit_compile=jit, autograph=False)
        self._of_shape: dict = {}

    def __call__(self, key, *inputs):
        """Calls it; `key` stands for the shapes of the inputs, one compilation each.

        Raises UserError when XLA cannot compile a user's network.
        """
        inputs = tf.nest.map_structure(tf.convert_to_tensor, inputs)
        try:
            if key not in self._of_shape:
                self._of_shape[key] = self._function.get_concrete_function(*inputs)
                weakref.finalize(self, self._of_shape[key].graph.Dismantle).atexit = False  # left to whoever asks
            return self._of_shape[key](*inputs)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
            if self.jit and ("XLA" in str(error) or "compile" in str(error)):
                advice = "set sac.jit=false to run without it"
                raise UserError(f"XLA cannot compile a network of nn.py; {advice} ({error})") from error
            raise


class ForAnyNumber(Compiled):
    """A compiled function of rows: any number of them costs a handful of compilations."""

    def __call__(self, rows: tuple, *shared):
        """Calls it on `rows`, arrays [k, ...] with k > 0 in any structure, and on what they share; returns arrays [k].

        They are padded to a power of two with copies of the first.
        """
        k = len(tf.nest.flatten(rows)[0])
        more = (1 << (k - 1).bit_length()) - k
        if more:
            rows = tf.nest.map_structure(lambda x: np.concatenate([x, np.repeat(x[:1], more, 0)]), rows)
        return tf.nest.map_structure(lambda x: x.numpy()[:k], super().__call__(k + more, *rows, *shared))


def seed_everything(seed: int) -> None:
    """Seeds Python, NumPy and the initialisers of Keras; everything later draws from (seed, counter)."""
    keras.utils.set_random_seed(seed)


__all__ = ["Compiled", "ForAnyNumber", "keras", "seed_everything", "start", "tf", "tfb", "tfd", "tfp"]
