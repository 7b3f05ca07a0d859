"""How a played run is shown: not at all, in the environment's own window, or as a video file."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager
from pathlib import Path

from sac.errors import UserError
from sac.types import Env

PICTURES_A_SECOND = 30  # of a film whose environment does not say


class NoViewer(AbstractContextManager):
    """Shows nothing, or leaves it to the environment's own window (`mode` "human")."""

    def __init__(self, mode: str | None = None):
        self.mode = mode

    def show(self, env: Env) -> None:
        """Called after every turn."""

    @property
    def words(self) -> str:
        """What to say at the end."""
        return ""

    def __exit__(self, *_) -> None:
        pass


class Film(NoViewer):
    """Writes every turn's picture into an mp4 file, as many a second as the environment says.

    Raises UserError without the extra, or where nothing is drawn.
    """

    def __init__(self, path: Path):
        super().__init__("rgb_array")
        try:
            import imageio.v2 as imageio
            import imageio_ffmpeg  # noqa: F401  (the writer needs it, and says so late)
        except ImportError as error:
            raise UserError(f'render=video needs the extra video ({error}): pip install -e ".[video]"') from error
        self._open = lambda fps: imageio.get_writer(path, fps=fps, macro_block_size=2)
        self._path, self._writer = path, None

    def show(self, env: Env) -> None:
        picture = env.render()
        if picture is None:
            raise UserError("render=video: this environment gives no pictures; where there is a screen: render=window")
        if self._writer is None:
            self._writer = self._open(getattr(env, "render_fps", None) or PICTURES_A_SECOND)
        self._writer.append_data(picture)

    @property
    def words(self) -> str:
        return f"\nvideo: {self._path}"

    def __exit__(self, *_) -> None:
        if self._writer is not None:
            self._writer.close()


def viewer(render: bool | str, video: Path) -> NoViewer:
    """The viewer for `render`: false, window, video, or true = a window where there is a screen, else a video."""
    if render is False:
        return NoViewer()
    screen = sys.platform in ("win32", "darwin") or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    if render == "window" and not screen:
        raise UserError("render=window: there is no screen here; film it by render=video")
    return NoViewer("human") if render == "window" or (render is True and screen) else Film(video)
