"""Images in the formats of beamlines, played through the command, beside what pyFAI makes."""

import gzip

import fabio
import h5py
import hdf5plugin
import numpy as np
import pytest

SHAPE, N, BINS = (120, 100), 3, 200
PONI = """# Detector: a small one
poni_version: 2.1
Detector: Detector
Detector_config: {"pixel1": 0.0004, "pixel2": 0.0004, "max_shape": [120, 100]}
Distance: 0.05
Poni1: 0.011
Poni2: 0.021
Rot1: 0.05
Rot2: -0.03
Rot3: 0.0
Wavelength: 6.888e-11
"""


@pytest.fixture
def poni(tmp_path):
    path = tmp_path / "detector.poni"
    path.write_text(PONI, encoding="utf-8")
    return path


def rings(poni):
    import pyFAI

    q = pyFAI.load(str(poni)).array_from_unit(SHAPE, "center", "q_A^-1", scale=True)
    mean = 30 + 400 * np.exp(-0.5 * ((q - 2.8) / 0.05) ** 2)
    frames = np.random.default_rng(5).poisson(mean, (N, *SHAPE)).astype("<i4")
    gap = np.zeros(SHAPE, bool)
    gap[50:56], gap[3, 4] = True, True
    return frames, gap


def expected(poni, frames, gap, split):
    import pyFAI

    integrator = pyFAI.load(str(poni))
    return np.stack([
        integrator.integrate1d_ng(
            frame, BINS, unit="q_A^-1", method=(split, "csr", "cython"), mask=gap,
            error_model="poisson", polarization_factor=0.95,
        ).intensity
        for frame in frames.astype("f8")
    ])  # fmt: skip


def written(folder, kind, frames, gap):
    """Write the frames as a beamline would, and return what is played."""
    marked = np.where(gap, -1, frames)
    marked[:, 3, 4] = np.where(gap[3, 4], -2, marked[:, 3, 4])
    if kind == "cbf":
        for k, frame in enumerate(marked):
            fabio.cbfimage.CbfImage(data=frame.astype("<i4")).write(str(folder / f"r_{k}.cbf"))
        return f"{folder}/r_*.cbf"
    if kind in ("edf", "edf.gz", "float.edf"):
        dtype = "<f4" if kind == "float.edf" else "<i4"
        data = np.where(gap, np.nan, frames).astype(dtype) if dtype == "<f4" else marked
        image = fabio.edfimage.EdfImage(data=data[0], header={"ExposureTime": "0.01"})
        for frame in data[1:]:
            image.append_frame(data=frame)
        image.write(str(folder / "r.edf"))
        if kind != "edf.gz":
            return folder / "r.edf"
        (folder / "p.edf.gz").write_bytes(gzip.compress((folder / "r.edf").read_bytes()))
        return folder / "p.edf.gz"
    if kind == "tif":
        tifffile = pytest.importorskip("tifffile")
        tifffile.imwrite(folder / "r.tif", marked.astype("<i4"), photometric="minisblack")
        return folder / "r.tif"
    unsigned = np.where(gap, 2**32 - 1, frames).astype("<u4")  # as an Eiger marks pixels
    with h5py.File(folder / "r_data_000001.h5", "w") as file:
        file.create_dataset("entry/data/data", data=unsigned, chunks=(1, *SHAPE),
                            **hdf5plugin.Bitshuffle(cname="lz4"))  # fmt: skip
    with h5py.File(folder / "r_master.h5", "w") as file:
        link = h5py.ExternalLink("r_data_000001.h5", "/entry/data/data")
        file["entry/data/data_000001"] = link
    return folder / "r_master.h5"


KINDS = ["cbf", "edf", "edf.gz", "float.edf", "tif", "h5"]


@pytest.mark.heavy
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_integrated_as_pyfai_does(flyback, tmp_path, poni, kind):
    folder, save = tmp_path / "data", tmp_path / "out.npz"
    folder.mkdir()
    frames, gap = rings(poni)
    code, _, err = flyback(
        "play", written(folder, kind, frames, gap), "--analysis", "integration", "--save", save,
        "--set", f"integration.poni={poni}", "--set", f"integration.bins={BINS}", "--set",
        "integration.polarisation=0.95",
    )  # fmt: skip
    assert code == 0, err
    with np.load(save) as saved:
        ours, lost = saved["integration.intensity"], saved["integration.pixels_lost"]
    theirs = expected(poni, frames, gap, "bbox")
    assert ours.shape == theirs.shape
    full = np.isfinite(ours) & (theirs > 0)
    assert full.sum() > 0.95 * theirs.size
    np.testing.assert_allclose(ours[full], theirs[full], rtol=1e-5)
    # what integers mark is bad from the first frame on; the others are found in each frame
    marked = {"float.edf": gap.sum(), "h5": gap.sum()}.get(kind, 0)
    assert lost.tolist() == [marked] * N


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("shape", "belongs to a detector of 120 x 100 pixels, but the frames have 60 x 100"),
        ("mask", "the mask mask.npy has shape (60, 100), but the frames are 120 x 100"),
        ("poni", "is no .poni file that pyFAI reads"),
        ("cut", "cut short"),
    ],
)
def test_what_does_not_fit_is_one_sentence(flyback, tmp_path, poni, wrong, sentence):
    frames, gap = rings(poni)
    frames = frames[:1, :60] if wrong == "shape" else frames[:1]
    path = tmp_path / "r.edf"
    fabio.edfimage.EdfImage(data=frames[0]).write(str(path))
    settings = [f"integration.poni={poni}"]
    if wrong == "mask":
        np.save(tmp_path / "mask.npy", gap[:60])
        settings.append(f"integration.mask={tmp_path / 'mask.npy'}")
    elif wrong == "poni":
        poni.write_text("Distance: far away\n")
    elif wrong == "cut":
        path.write_bytes(path.read_bytes()[:30_000])
    arguments = [part for setting in settings for part in ("--set", setting)]
    code, out, err = flyback("play", path, "--analysis", "integration", *arguments)
    assert (code, out) == (2, "")
    assert len(err.strip().splitlines()) == 1
    assert sentence in err
