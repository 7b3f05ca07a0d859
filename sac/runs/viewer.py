"""Shows a played run: not at all, in the environment's own window, or as a video file."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from sac.errors import UserError
from sac.types import Env

log = logging.getLogger(__name__)
DEFAULT_FPS = 30  # pictures per second of a film when the environment does not tell


class NoViewer(AbstractContextManager):
    """Shows nothing itself; with `mode` "human" the environment opens its own window."""

    def __init__(self, mode: str | None = None):
        self.mode = mode

    def show(self, env: Env) -> None:
        """Called after every turn."""

    @property
    def words(self) -> str:
        """Text for the user at the end."""
        return ""

    def __exit__(self, *_) -> None:
        pass


class Film(NoViewer):
    """Writes the picture of each turn into an mp4 file, at the environment's own rate.

    Raises UserError when the extra `video` is not installed or the environment draws nothing.
    """

    def __init__(self, path: Path):
        super().__init__("rgb_array")
        try:
            import imageio.v2 as imageio
            import imageio_ffmpeg  # noqa: F401  (the writer needs it, and says so late)
        except ImportError as error:
            raise UserError(f'render=video needs the extra video ({error}): pip install -e ".[video]"') from error
        self._open = lambda fps: imageio.get_writer(path, fps=fps, macro_block_size=2)
        self._path = path
        self._writer: Any = None  # imageio's, from the first picture on
        self._size = (0, 0)  # height and width of the first picture: all pictures of a film have one size
        self._warned = False

    def show(self, env: Env) -> None:
        picture = env.render()
        if picture is None:
            raise UserError("render=video: this environment gives no pictures; where there is a screen: render=window")
        picture = as_rgb(picture)
        if self._writer is None:
            self._size = picture.shape[0], picture.shape[1]
            self._writer = self._open(getattr(env, "render_fps", None) or DEFAULT_FPS)
        if picture.shape[:2] != self._size and not self._warned:
            self._warned = True
            first, now = ("x".join(map(str, size[::-1])) for size in (self._size, picture.shape[:2]))
            log.warning("render=video: pictures change their size; %s is scaled to the first one's %s", now, first)
        self._writer.append_data(scaled(picture, self._size))

    @property
    def words(self) -> str:
        return f"\nvideo: {self._path}"

    def __exit__(self, *_) -> None:
        if self._writer is not None:
            self._writer.close()


def as_rgb(picture: np.ndarray) -> np.ndarray:
    """Converts a picture uint8 [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] to [H, W, 3]. Raises UserError for others."""
    grey = picture[..., None] if picture.ndim == 2 else picture
    if grey.ndim != 3 or grey.shape[2] not in (1, 3, 4) or grey.dtype != np.uint8 or not grey.size:
        raise UserError(
            f"render=video: the environment draws an array {list(picture.shape)} of {picture.dtype}; allowed is "
            "[height, width, 3] of uint8"
        )
    return np.repeat(grey, 3, axis=2) if grey.shape[2] == 1 else grey[..., :3]


def scaled(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scales a picture [H, W, C] to `size` (height, width) by nearest pixels."""
    if picture.shape[:2] == size:
        return picture
    rows, columns = (np.arange(new) * old // new for new, old in zip(size, picture.shape))
    return picture[rows[:, None], columns]


def viewer(render: bool | str, video: Path) -> NoViewer:
    """The viewer for `render`: false, window, video, or true (a window where there is a screen, else a video).

    Raises UserError for a window without a screen, and as Film does.
    """
    if render is False:
        return NoViewer()
    screen = sys.platform in ("win32", "darwin") or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    if render == "window" and not screen:
        raise UserError("render=window: there is no screen here; film it by render=video")
    return NoViewer("human") if render == "window" or (render is True and screen) else Film(video)
