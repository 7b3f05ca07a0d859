"""Films of pictures that no film takes as they are."""

from __future__ import annotations

import numpy as np
import pytest

from sac.errors import UserError
from sac.runs.viewer import Film, as_rgb, scaled

imageio = pytest.importorskip("imageio.v2")
pytest.importorskip("imageio_ffmpeg")


class Drawing:
    """Draws one picture after the other."""

    def __init__(self, *pictures):
        self.pictures = list(pictures)

    def render(self):
        return self.pictures.pop(0)


def full(height, width, value, channels=(3,)):
    return np.full((height, width, *channels), value, np.uint8)


def test_pictures_that_change_their_size_make_a_film_of_the_first_ones(tmp_path, caplog):
    env = Drawing(full(32, 64, 250), full(48, 48, 130), full(8, 200, 10, (4,)), full(32, 64, 250, ()))
    with Film(tmp_path / "a.mp4") as film:
        for _ in range(4):
            film.show(env)
    with imageio.get_reader(tmp_path / "a.mp4") as reader:
        frames = [frame for frame in reader]  # noqa: C416 - list() asks for the length, which is infinite
    assert {frame.shape for frame in frames} == {(32, 64, 3)}
    assert [frame.mean() for frame in frames] == pytest.approx([250, 130, 10, 250], abs=8)
    assert [r.getMessage() for r in caplog.records] == [
        "render=video: pictures change their size; 48x48 is scaled to the first one's 64x32"
    ]


def test_scaling_takes_the_nearest_pixel():
    picture = np.arange(4, dtype=np.uint8).reshape(2, 2, 1)
    assert scaled(picture, (4, 2))[..., 0].tolist() == [[0, 1], [0, 1], [2, 3], [2, 3]]
    assert scaled(picture, (1, 1))[..., 0].tolist() == [[0]] and scaled(picture, (2, 2)) is picture


@pytest.mark.parametrize(
    "picture", [np.zeros((4, 4, 3)), full(4, 4, 0, (2,)), full(4, 4, 0, (3, 3)), np.zeros(4, np.uint8), full(0, 4, 0)]
)
def test_what_is_no_picture_is_named(picture):
    with pytest.raises(UserError, match=r"render=video: the environment draws .*allowed is \[height"):
        as_rgb(picture)
