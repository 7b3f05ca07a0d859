"""An actor fetches the policy on schedule, also in a task whose iterations never end."""

from __future__ import annotations

from sac.distributed.fetching import LONG_ITERATION_TURNS, FetchSchedule


def fetched_at(every: int, turns: int, ends: int = 0, agents: int = 1) -> list[int]:
    """Turns after which the policy is fetched; an iteration ends every `ends` turns (0: never)."""
    fetching, found = FetchSchedule(every), []
    for turn in range(1, turns + 1):
        fetching.count(agents, bool(ends) and turn % ends == 0)
        if fetching.due():
            found.append(turn)
    return found


def test_it_is_fetched_after_each_iteration():
    assert fetched_at(-1, 100, ends=30) == [30, 60, 90]


def test_it_is_fetched_in_a_task_that_never_ends():
    assert fetched_at(-1, 2 * LONG_ITERATION_TURNS + 5) == [LONG_ITERATION_TURNS, 2 * LONG_ITERATION_TURNS]


def test_a_number_of_transitions_counts_those_of_all_agents_and_no_iterations():
    assert fetched_at(40, 25, ends=3, agents=4) == [10, 20]
