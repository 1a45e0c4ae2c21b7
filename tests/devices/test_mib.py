"""The MIB format: made here, and recorded by real cameras."""

import zipfile

import numpy as np
import pytest

from flyback.devices.mib import MibError, decode, dtype_of, parse_header, sequences
from flyback.tests.merlin_files import KINDS, header, raw
from flyback.tests.microscope import need_data

CASES = [("U08", 6), ("U16", 12), ("U32", 24), ("R64", 1), ("R64", 6), ("R64", 12), ("R64", 24)]


@pytest.mark.parametrize(("kind", "depth"), CASES)
def test_counts_survive(kind, depth):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 2**depth, (3, 64, 128)).astype("<u4")
    stored = (128, 128) if (kind, depth) == ("R64", 24) else (64, 128)
    head = parse_header(header(7, stored, kind, depth))
    assert (head.sequence, head.shape, head.counter_depth) == (7, (64, 128), depth)
    images = [raw(f, depth) if kind == "R64" else f.astype(KINDS[kind]).tobytes() for f in frames]
    block = np.frombuffer(b"".join(images), np.uint8).reshape(3, -1)
    assert block.shape[1] == head.image_bytes
    assert np.array_equal(decode(block, head, flip_y=False), frames)
    upright = decode(block, head)
    assert np.array_equal(upright, frames[:, ::-1])
    assert upright.dtype == dtype_of(depth)
    assert upright.dtype.byteorder in "=|<"


def test_numbers_of_frames():
    heads = [np.frombuffer(header(n, (64, 64), "U16", 12), np.uint8) for n in (1, 42, 999_999)]
    assert sequences(np.stack(heads)).tolist() == [1, 42, 999_999]


@pytest.mark.parametrize(
    "head",
    [b"", b"HDR,", b"MQ1,000001,", b"MQ1,x,00384,01,0064,0064,U16,", header(1, (0, 0), "U16", 12)],
)
def test_what_is_no_frame_is_said(head):
    with pytest.raises(MibError) as caught:
        parse_header(head)
    assert "\n" not in str(caught.value)


def test_depths():
    with pytest.raises(MibError, match="1, 6, 12 or 24"):
        dtype_of(8)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mib")
    with zipfile.ZipFile(need_data("stem4d/merlin_mib/Merlin_Single_Quad.zip")) as archive:
        archive.extractall(folder)

    def load(name):
        data = np.fromfile(folder / f"{name}_Rows_256{''}.mib", np.uint8)
        return _frames(data)

    def load_raw(name):
        return _frames(np.fromfile(folder / f"{name}_Rows_256RAW.mib", np.uint8))

    return load, load_raw


def _frames(data):
    head = parse_header(data[:1024].tobytes())
    block = data.reshape(-1, head.header_bytes + head.image_bytes)
    assert np.array_equal(sequences(block), np.arange(1, len(block) + 1))
    return decode(block[:, head.header_bytes :], head)


@pytest.mark.data
@pytest.mark.parametrize("chips", ["Single", "Quad"])
def test_raw_and_processed_frames_of_a_real_camera_agree(real, chips):
    load, load_raw = real
    plain, registers = (
        load(f"{chips}_9_Frame_CounterDepth_1"),
        load_raw(f"{chips}_9_Frame_CounterDepth_1"),
    )
    assert plain.shape == registers.shape
    # two exposures of one mask: the same but for a few noisy pixels
    steady = plain.mean(axis=0) > 0.9
    assert (registers.mean(axis=0) > 0.9)[steady].mean() > 0.99
    assert (registers.mean(axis=0) > 0.9).sum() == pytest.approx(steady.sum(), rel=0.02)


@pytest.mark.data
@pytest.mark.parametrize("depth", [6, 12, 24])
@pytest.mark.parametrize("chips", ["Single", "Quad"])
def test_real_frames_of_every_depth_stand_upright(real, chips, depth):
    load, _ = real
    frame = load(f"{chips}_1_Frame_CounterDepth_{depth}")[0]
    mask = load(f"{chips}_1_Frame_CounterDepth_1")[0]
    assert frame.dtype == dtype_of(depth)
    assert frame.shape == mask.shape
    # the digit of the test mask is brighter than its surroundings
    if chips == "Single":
        digit = np.zeros(frame.shape, bool)
        digit[100:165, 70:110] = mask[100:165, 70:110] > 0
        assert digit.sum() > 500
