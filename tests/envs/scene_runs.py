"""Stand-in players' scenes driven by scripted policies, without a wire."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from envs.players.protocol import AgentReport, BehaviourActions, SceneContext


def play(scene, policy: Callable, exchanges: int, **parameters) -> tuple[list[AgentReport], list[tuple[float, bool]]]:
    """(reports, returns by episode [(return, interrupted)]) of a policy: first sensor of k agents -> [k, actions]."""
    game = scene.play(SceneContext(seed=1, parameters=parameters))
    report, reports, episodes, returns = next(game)[0], [], [], {}
    for _ in range(exchanges):
        reports.append(report)
        for agent, reward, done, late in zip(report.ids, report.reward, report.done, report.interrupted):
            returns[agent] = returns.get(agent, 0.0) + reward
            if done:
                episodes.append((returns.pop(agent), bool(late)))
        obs = [row for row, done in zip(report.obs[0], report.done) if not done]
        behaviour = report.behaviour
        chosen = policy(obs if behaviour.sensors[0].png else np.array(obs)) if obs else []
        actions = BehaviourActions(
            np.zeros((len(obs), behaviour.continuous)), np.zeros((len(obs), len(behaviour.branches)), int)
        )
        values = actions.discrete if behaviour.branches else actions.continuous
        values[:] = np.reshape(chosen, values.shape)
        report = game.send({scene.name: actions})[0]
    return reports, episodes


def pixels(files: list[bytes]) -> np.ndarray:
    """[k, H, W, 3] uint8 of k PNGs."""
    return np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files])
