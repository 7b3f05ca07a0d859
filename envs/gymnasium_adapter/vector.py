"""Makes Gymnasium vector environments, in this process or in workers, and ends them whatever state they are in."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import resource_tracker

import gymnasium
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.async_vector_env import AsyncState

from sac.errors import UserError

GRACE = 3.0  # seconds that workers get to close their environments


def make_vector(
    makers: Sequence[Callable[[], gymnasium.Env]], vectorization: str, autoreset: AutoresetMode,
    shared_memory: bool = True,
) -> VectorEnv:  # fmt: skip
    """`sync`: all in this process; `async`: one process each, observations through shared memory or through pipes."""
    if vectorization == "sync":
        return SyncVectorEnv(makers, autoreset_mode=autoreset)
    before = set(multiprocessing.active_children())
    try:
        with _children_deaf_to_ctrl_c():
            return Workers(makers, shared_memory=shared_memory, context="spawn", autoreset_mode=autoreset)
    except BaseException:
        _end(set(multiprocessing.active_children()) - before, grace=0.0)
        raise


class Workers(AsyncVectorEnv):
    """Raises what its workers raised: as it is where it is meant for the user, else with the worker's traceback.

    Gymnasium's own prints the traceback of each worker in red and waits for ever for an exception that cannot be sent.
    """

    def _raise_if_errors(self, successes: Sequence[bool]) -> None:
        failed = [i for i, well in enumerate(successes) if not well]
        if not failed:
            return
        told = [self._told() for _ in failed]
        self._state = AsyncState.DEFAULT
        for i in failed:
            self.parent_pipes[i].close()
            self.parent_pipes[i] = None
        raise next((error for error in told if isinstance(error, UserError)), told[0])

    def _told(self) -> Exception:
        """What one worker raised."""
        try:
            _, _, error, trace = self.error_queue.get(timeout=GRACE)
        except Exception:  # nothing came
            return RuntimeError("an environment failed in its process, which cannot say how")
        if not isinstance(error, UserError):
            error.add_note(f"In the worker process:\n{str(trace).rstrip()}")
        return error


def close_vector(vector: VectorEnv) -> None:
    """Ends the environments and their processes, also after a worker raised, was killed or hangs."""
    inner = vector.unwrapped
    if vector.closed or inner.closed:
        return
    if not isinstance(inner, AsyncVectorEnv):
        vector.close()
        return
    # AsyncVectorEnv.close() waits without limit for answers that a dead worker never gives
    inner.closed = True
    for pipe in inner.parent_pipes:
        if pipe is not None and not pipe.closed:
            with contextlib.suppress(OSError):
                pipe.send(("close", None))
    _end(inner.processes, GRACE)
    for pipe in inner.parent_pipes:
        if pipe is not None:
            pipe.close()
    inner.error_queue.close()


def dead_workers(vector: VectorEnv) -> list[str]:
    """Names and exit codes of worker processes that are gone."""
    processes = getattr(vector.unwrapped, "processes", [])
    for process in processes:
        process.join(0.2)
    return [f"{p.name} (exit code {p.exitcode})" for p in processes if not p.is_alive()]


def _end(processes: Sequence[multiprocessing.Process] | set, grace: float) -> None:
    deadline = time.monotonic() + grace
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    for process in processes:
        if process.is_alive():
            process.terminate()
    for process in processes:
        process.join(1.0)
        if process.is_alive():
            process.kill()
            process.join()


@contextlib.contextmanager
def _children_deaf_to_ctrl_c() -> Iterator[None]:
    """Children inherit a blocked SIGINT, so Ctrl-C while they still import does not print their tracebacks."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # its start would unblock the signal
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
