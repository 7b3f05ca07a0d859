"""Decoding of pictures: layouts, concatenated PNGs, channel mappings, damage."""

import numpy as np
import pytest

from envs.players import png
from envs.unity_adapter import images
from envs.unity_adapter.decode import Decoder
from envs.unity_adapter.mlagents import AgentInfoProto, BrainParametersProto
from sac.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 7, 6), dtype=np.uint8)


def observation(shape, properties=(), data=None, compressed=None, name="eye"):
    info = AgentInfoProto(id=5)
    proto = info.observations.add(shape=shape, dimension_properties=properties, name=name)
    if compressed is not None:
        proto.compression_type, proto.compressed_data = images.PNG, compressed
    else:
        proto.float_data.data.extend(np.ravel(data).tolist())
    return info


def decoder(info):
    brain = BrainParametersProto(brain_name="Seer")
    brain.action_spec.num_continuous_actions = 1
    return Decoder(brain, info)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
def test_what_is_encoded_is_decoded(channels):
    picture = PIXELS[..., :channels]
    decoded = images.decode_pngs(png.encode(picture), channels, png.mapping(channels))
    np.testing.assert_array_equal(decoded, picture)


def test_channels_of_one_target_are_averaged_and_padding_is_left_out():
    picture = PIXELS[..., :3]
    decoded = images.decode_pngs(png.encode(picture), 2, (1, 0, 1))
    np.testing.assert_array_equal(decoded[..., 0], picture[..., 1])
    average = np.rint(picture[..., [0, 2]].mean(axis=2))
    np.testing.assert_array_equal(decoded[..., 1], average)
    np.testing.assert_array_equal(images.decode_pngs(png.encode(picture), 1, (-1, -1, 0))[..., 0], picture[..., 2])


def test_without_a_mapping_one_channel_is_the_average():
    picture = PIXELS[..., :3]
    decoded = images.decode_pngs(png.encode(picture), 1, ())
    np.testing.assert_array_equal(decoded[..., 0], np.rint(picture.mean(axis=2)))


def test_a_signature_inside_a_png_does_not_split_it():
    """Searching for the next signature would cut a file whose data happens to hold those bytes."""
    file = png.encode(PIXELS[..., :3])
    header_end = 8 + 25
    text = images.PNG_SIGNATURE
    chunk = len(text).to_bytes(4, "big") + b"tEXt" + text + b"\0\0\0\0"
    odd = file[:header_end] + chunk + file[header_end:]
    assert list(images.split_pngs(odd + file)) == [odd, file]


@pytest.mark.parametrize(
    "shape, properties, size, version, expected",
    [
        ((3, 8, 8), (1, 2, 2), (8, 8), "", True),
        ((8, 8, 3), (2, 2, 1), (8, 8), "", False),
        ((3, 4, 7), (), (4, 7), "", True),
        ((4, 7, 3), (), (4, 7), "", False),
        ((4, 4, 4), (), (4, 4), "3.0.0", True),
        ((4, 4, 4), (), (4, 4), "2.0.1", False),
    ],
)
def test_layouts_are_recognised(shape, properties, size, version, expected):
    compressed = png.encode(np.zeros((*size, 3), np.uint8))
    proto = observation(shape, properties, compressed=compressed).observations[0]
    assert images.is_channels_first(proto, version) is expected


@pytest.mark.parametrize("damage", [b"", b"nonsense", png.encode(PIXELS[..., :3])[:60]])
def test_a_damaged_picture_is_a_fault_of_its_row(damage):
    good = observation((4, 7, 3), (2, 2, 1), compressed=png.encode(PIXELS[..., :3]))
    bad = observation((4, 7, 3), (2, 2, 1), compressed=damage)
    rows = decoder(good).rows([good, bad])
    assert list(rows.faults) == [1] and "eye" in rows.faults[1]
    np.testing.assert_array_equal(rows.obs["eye"][0], PIXELS[..., :3])


def test_a_picture_of_another_size_is_a_fault_of_its_row():
    good = observation((4, 7, 3), (2, 2, 1), compressed=png.encode(PIXELS[..., :3]))
    bad = observation((4, 7, 3), (2, 2, 1), compressed=png.encode(PIXELS[:2, :, :3]))
    assert list(decoder(good).rows([bad]).faults) == [0]


def test_raw_pictures_with_nan_are_a_fault():
    values = np.zeros((2, 4, 5))
    good = observation((2, 4, 5), (1, 2, 2), values)
    values[1, 2, 3] = np.inf
    rows = decoder(good).rows([good, observation((2, 4, 5), (1, 2, 2), values)])
    assert rows.faults == {1: "sensor eye holds inf at place 33"}
    assert rows.obs["eye"].shape == (2, 4, 5, 2)


def test_names_are_made_unique_and_lists_of_entities_flattened():
    info = observation((2,), (), [1, 2], name="eye")
    info.observations.add(shape=(3, 2), name="eye").float_data.data.extend(range(6))
    info.observations.add(shape=(1,)).float_data.data.extend([7])
    seer = decoder(info)
    assert [(sensor.name, sensor.shape) for sensor in seer.spec.sensors] == [
        ("eye", (2,)),
        ("eye_2", (6,)),
        ("sensor_2", (1,)),
    ]
    assert seer.rows([info]).obs["eye_2"].tolist() == [[0, 1, 2, 3, 4, 5]]


def test_sensors_that_change_their_shape_are_named():
    seer = decoder(observation((2,), (), [1, 2]))
    with pytest.raises(UserError, match="sensor eye of agent 5"):
        seer.rows([observation((3,), (), [1, 2, 3])])


def test_deprecated_action_fields_of_old_packages():
    info = observation((1,), (), [0])
    brain = BrainParametersProto(brain_name="Old", vector_action_size_deprecated=[3, 2])
    assert Decoder(brain, info).spec.branches == (3, 2)
    brain = BrainParametersProto(
        brain_name="Old", vector_action_size_deprecated=[4], vector_action_space_type_deprecated=1
    )
    assert Decoder(brain, info).spec.continuous == 4
