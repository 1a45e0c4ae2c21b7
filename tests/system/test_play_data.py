"""Every reference data set, played as if it were being acquired, or refused in one sentence."""

import json
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from flyback.models.physics import wavelength_m
from flyback.profiles.archive import Archive
from flyback.tests.models.test_reference_data import aligned, corr, double_angle, seen

pytestmark = [pytest.mark.data, pytest.mark.heavy]

PLAYED = {
    "ptycho/siemens_star.h5": 516,
    "stem4d/mos2_4dstem.npz": 1760,
    "domains/test_map.npz": 576,
    "domains/train_labelled.npz": 1024,
    "stem4d/blo_arina_emd": 16,
    "stem4d/blo_arina_emd/Si100_4D.emd": 121,
    "stem4d/blo_arina_emd/test_00_master.h5": 16,
    "stem4d/blo_arina_emd/test_00_data_000001.h5": 16,
    "stem4d/blo_arina_emd/test1.blo": 6,
    "stem4d/merlin_mib/Merlin_navigation4x2_ROI.zip/001_4x2_6bit.mib": 8,
    "stem4d/merlin_mib/Merlin_navigation4x2_ROI.zip/002_4x2_6bit_roi128.mib": 8,
    "stem4d/merlin_mib/Merlin_Single_Quad.zip/Quad_9_Frame_CounterDepth_12_Rows_256.mib": 9,
    "stem4d/merlin_mib/Merlin_Single_Quad.zip/Single_9_Frame_CounterDepth_1_Rows_256RAW.mib": 9,
    "xrd2d/ceo2_pilatus1m/CeO2_Pilatus1M.tif": 1,
    "xrd2d/ceo2_pilatus1m/CeO2_Pilatus1M.xy": 1,
    "xrd2d/fe3o4_map": 3,
    "xrd1d/autoanalyzer": 7,
    "xrd1d/autoanalyzer/MnO.xy": 1,
    "xrd1d/cucr2o4/SeqTut.zip": 17,
    "operando/coincell8/coincell8_LDE2_reduced.zip": 5,
    "operando/coincell8/reference.npz": 5,
    "xrf/axo_standard.npz": 121,
    "xrf/srm1832.mca": 1,
    "xrf/XRFSpectrum.mca": 1,
    "xrf/Steel.spe": 1,
    "eels/EELS_STO.dm3": 1,
}
REFUSED = {
    "bluesky/apstools_misc/uid-219cc7b4.json": "stream of Bluesky documents",
    "bluesky/apstools_misc": "stream of Bluesky documents",
    "structures/Al.cif": "crystal structure",
    "structures": "crystal structure",
    "echem/eclab/cv.mpr": "cell log",
    "echem/eclab/cv.mpt": "cell log",
    "echem/gcpl/arbin_example.bdf.csv": "cell log",
    "echem/eclab/cv_mpt_reference.npz": "holds no frames",
    "ptycho/siemens_star_reference.npz": "holds no frames",
    "stem4d/mos2_truth.npz": "holds no frames",
    "stem4d/blo_arina_emd/test_00.h5": "holds no frames",
    "stem4d/merlin_mib/Merlin_navigation4x2_ROI.zip": "play one of them",
    "stem4d/merlin_mib/Merlin_Single_Quad.zip": "play one of them",
    "domains": "play one of them",
    "xrd2d/ceo2_pilatus1m/CeO2_Pilatus1M.poni": "geometry",
    "xrd2d/ceo2_pilatus1m/reference_pyfai.npz": "holds no frames",
    "xrf/maps_standardinfo.txt": "holds no pattern",
    "README.md": "what can be played is",
}
NEEDS_FORMATS = (".blo", ".dm3")


@pytest.mark.parametrize("name", PLAYED)
def test_it_is_acquired_and_summed(flyback, data_folder, tmp_path, name):
    if name.endswith(NEEDS_FORMATS):
        pytest.importorskip("rsciio", reason="the extra 'formats' is not installed")
    save = tmp_path / "out.npz"
    code, out, err = flyback("play", data_folder / name, "--rate", "max", "--save", save, "--json")
    assert code == 0, err
    report = json.loads(out.splitlines()[-1])
    (run,) = report["runs"]
    assert (run["frames"], run["exit_status"]) == (PLAYED[name], "success")
    assert [a["exit_status"] for a in report["analyses"]] == ["success"]
    with np.load(save, allow_pickle=False) as saved:
        total = saved["virtual_images.sum"]
        assert total.shape == (PLAYED[name],)
        assert np.isfinite(total).all()
        if "test_00" not in name and not name.endswith("blo_arina_emd"):  # which have no counts
            assert (total > 0).any()


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_in_one_sentence(flyback, data_folder, name):
    code, out, err = flyback("play", data_folder / name, "--rate", "max")
    assert code == 2
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert REFUSED[name] in err
    assert name.rpartition("/")[2] in err


def test_every_file_is_played_or_refused(data_folder):
    """Whatever lies there: a recording, or a sentence; never another exception."""
    from flyback.devices.recording import Recording, RecordingError

    for path in sorted(data_folder.rglob("*")):
        if path.suffix in (".blo", ".dm3"):
            continue
        try:
            with Recording(path) as recording:
                assert len(recording) > 0
        except RecordingError as error:
            refusal = str(error)
            if path.is_file():
                assert path.name in refusal
            assert "\n" not in refusal


def test_axes_lie_beside_the_frames(flyback, data_folder, tmp_path):
    code, _, err = flyback("play", data_folder / "xrd1d/cucr2o4/SeqTut.zip", "--rate", "max")
    assert code == 0, err
    (path,) = (tmp_path / "store").rglob("camera_*.h5")
    with h5py.File(path) as file:
        axis = file["/entry/instrument/detector/two_theta_deg"][()]
        assert file["/entry/data/frames"].shape == (17, 12799)
        assert (axis[0], axis[-1]) == pytest.approx((0.5, 26.096), abs=1e-3)
        assert file["/entry/instrument/detector/sigma"].shape == (17, 12799)


@pytest.mark.heavy
def test_real_x_ray_ptychography_all_the_way(flyback, data_folder, tmp_path):
    """Acquired, reconstructed, stored, replayed bit for bit, and equal to what ptypy found."""
    save, again = tmp_path / "out.npz", tmp_path / "again.npz"
    code, _, err = flyback(
        "play", data_folder / "ptycho/siemens_star.h5", "--analysis", "ptychography",
        "--rate", "max", "--save", save,
    )  # fmt: skip
    assert code == 0, err
    with np.load(save, allow_pickle=False) as saved:
        live, origin = saved["ptychography.object"], saved["ptychography.object_origin_px"]
    code, _, err = flyback("replay", "last", "ptychography", "--save", again)
    assert code == 0, err
    with np.load(again, allow_pickle=False) as saved:
        np.testing.assert_array_equal(saved["ptychography.object"], live)
    with h5py.File(data_folder / "ptycho/siemens_star.h5") as file:
        frames, positions = file["frames"][()], file["positions_px"][()]
    (stored,) = (tmp_path / "store").rglob("camera_*.h5")
    with h5py.File(stored) as file:
        np.testing.assert_array_equal(file["entry/data/frames"][()], frames)
    with np.load(data_folder / "ptycho/siemens_star_reference.npz") as reference:
        wanted = reference["object_central240"]
    centre = np.rint((positions.min(axis=0) + positions.max(axis=0)) / 2 - origin).astype(int)
    window = tuple(slice(c - 120, c + 120) for c in centre)
    assert aligned(live[window], wanted) >= 0.95


def test_simulated_mos2_all_the_way(flyback, data_folder, tmp_path):
    save = tmp_path / "out.npz"
    code, _, err = flyback(
        "play", data_folder / "stem4d/mos2_4dstem.npz", "--rate", "max", "--save", save,
        "--analysis", "virtual_images,ptychography",
    )  # fmt: skip
    assert code == 0, err
    with np.load(save, allow_pickle=False) as saved:
        result = dict(saved)
    with np.load(data_folder / "stem4d/mos2_truth.npz") as file:
        truth = dict(file)
    expected = truth["noise_free_com_mrad"].reshape(-1, 2)
    assert corr(result["virtual_images.com_mrad"], expected - expected.mean(axis=0)) >= 0.995

    with Archive(tmp_path / "store") as archive:
        start = archive.find("last").metadata["start"]
    low_m, high_m = np.array(start["trajectory"]["extent"]) * 1e-9
    phase, pixel, origin = (
        result[f"ptychography.{name}"] for name in ("object_phase", "object_pixel_m",
                                                    "object_origin_m")
    )  # fmt: skip
    there = truth["scan_positions_A"].reshape(-1, 2).min(axis=0) * 1e-10 - low_m
    points = np.stack(np.indices(phase.shape), -1) * pixel + origin + there
    beam = SimpleNamespace(wavelength_m=wavelength_m("electron", 80.0))
    expected = seen(truth, beam, points, double_angle)
    scanned = tuple(
        slice(a, b + 1)
        for a, b in zip(
            np.rint((low_m - origin) / pixel).astype(int),
            np.rint((high_m - origin) / pixel).astype(int),
            strict=True,
        )
    )
    assert corr(phase[scanned], expected[scanned]) >= 0.95
