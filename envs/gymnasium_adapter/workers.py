"""Worker processes of a Gymnasium vector environment: starts them, and ends them whatever state they are in."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess

import gymnasium
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, VectorEnv
from gymnasium.vector.async_vector_env import AsyncState

from sac.errors import UserError

CLOSE_SECONDS = 3.0  # how long workers may take to close their environments, or to report an exception
TERMINATE_SECONDS = 1.0  # how long a worker may take to end after SIGTERM
EXIT_SECONDS = 0.2  # how long the exit code of a dead worker may take to arrive


def make_workers(
    makers: Sequence[Callable[[], gymnasium.Env]],
    shared_memory: bool = True,
    autoreset: AutoresetMode = AutoresetMode.SAME_STEP,
) -> WorkerVectorEnv:
    """One process for each maker. Observations come through shared memory, or through pipes (which text needs)."""
    before = set(multiprocessing.active_children())
    try:
        with _sigint_blocked():
            return WorkerVectorEnv(makers, shared_memory=shared_memory, context="spawn", autoreset_mode=autoreset)
    except BaseException:
        _end(set(multiprocessing.active_children()) - before, grace=0.0)
        raise


class WorkerVectorEnv(AsyncVectorEnv):
    """Raises what a worker raised: a UserError as it is, any other exception with the worker's traceback as a note.

    Gymnasium's class prints the traceback of each worker in red, and it waits for ever for an exception that cannot be
    sent between processes.
    """

    def _raise_if_errors(self, successes: Iterable[bool]) -> None:
        failed = [i for i, succeeded in enumerate(successes) if not succeeded]
        if not failed:
            return
        errors = [self._next_error() for _ in failed]
        self._state = AsyncState.DEFAULT
        for i in failed:
            self.parent_pipes[i].close()
            self.parent_pipes[i] = None  # type: ignore[call-overload]  # how Gymnasium marks a pipe that is gone
        raise next((error for error in errors if isinstance(error, UserError)), errors[0])

    def _next_error(self) -> Exception:
        """What one worker raised."""
        try:
            _, _, error, trace = self.error_queue.get(timeout=CLOSE_SECONDS)
        except Exception:  # nothing arrived, or it cannot be unpickled
            return RuntimeError("an environment failed in its process, which cannot say how")
        if not isinstance(error, UserError):
            error.add_note(f"In the worker process:\n{str(trace).rstrip()}")
        return error


def close_vector(vector: VectorEnv) -> None:
    """Closes the environments and ends their processes, also after a worker raised, was killed or hangs."""
    inner = vector.unwrapped
    if vector.closed or inner.closed:
        return
    if not isinstance(inner, AsyncVectorEnv):
        vector.close()
        return
    # AsyncVectorEnv.close() waits without limit for the answer of a worker, which a dead one never gives
    inner.closed = True
    for pipe in inner.parent_pipes:
        if pipe is not None and not pipe.closed:
            with contextlib.suppress(OSError):
                pipe.send(("close", None))
    _end(inner.processes, CLOSE_SECONDS)
    for pipe in inner.parent_pipes:
        if pipe is not None:
            pipe.close()
    inner.error_queue.close()


def dead_workers(vector: VectorEnv) -> list[str]:
    """Names and exit codes of the worker processes that have ended."""
    processes = getattr(vector.unwrapped, "processes", [])
    for process in processes:
        process.join(EXIT_SECONDS)
    return [f"{p.name} (exit code {p.exitcode})" for p in processes if not p.is_alive()]


def _end(processes: Collection[BaseProcess], grace: float) -> None:
    """Waits `grace` seconds for the processes together, then terminates and at last kills those that are left."""
    deadline = time.monotonic() + grace
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    for process in processes:
        if process.is_alive():
            process.terminate()
    for process in processes:
        process.join(TERMINATE_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()


@contextlib.contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Children inherit the blocked SIGINT, so that Ctrl-C while they still import prints no tracebacks."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # its start would unblock the signal
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
