"""Phases and lines of measured patterns; what is known of them stands in the data's README."""

import re
import zipfile

import numpy as np
import pytest

from flyback.devices.recording import Recording
from flyback.models.base import Batch
from flyback.models.diffraction.phase_series import PhaseSeries
from flyback.models.diffraction.powder import read_phase

pytestmark = pytest.mark.data
CU_A = 1.540598
CU_DOUBLET = (1.544426 / CU_A, 0.5)


def fed(model, recording, rows):
    sigma = recording.axes.get("sigma")
    axes = {k: v for k, v in recording.axes.items() if k != "sigma"}
    frames = np.asarray(recording.frames[0 : len(recording)])[rows]
    coordinates = {} if sigma is None else {"sigma": np.asarray(sigma)[rows]}
    return model.partial_fit(Batch(frames, np.asarray(rows), coordinates, axes=axes))


def temperatures(path):
    """Return the temperature of each pattern, K, in the order of the names."""
    with zipfile.ZipFile(path) as archive:
        names = sorted(n for n in archive.namelist() if n.endswith(".fxye"))
        heads = [archive.read(n)[:4000].decode() for n in names]
    return np.array([float(re.search(r"Temp \(K\) =\s*([\d.]+)", h).group(1)) for h in heads])


def test_the_width_of_040_and_004_falls_to_its_floor_at_the_transition(data_folder):
    """CuCr2O4 at 11-BM: without any crystal, the split line near 11.11 degrees closes at 125 K."""
    path = data_folder / "xrd1d" / "cucr2o4" / "SeqTut.zip"
    with Recording(path) as recording:
        result = fed(PhaseSeries(), recording, np.arange(17)).result_
    kelvin, places = temperatures(path), result["peak_tracks"].value
    column = int(np.nanargmin(np.abs(np.nanmedian(places, axis=0) - 11.115)))
    widths = result["peak_widths"].value[:, column]
    floor = np.median(widths[-6:])
    assert widths[0] > 2 * floor
    reached = kelvin[np.argmax(widths < 1.25 * floor)]
    assert 105 <= reached <= 140


@pytest.mark.heavy
def test_the_cell_becomes_tetragonal_at_the_same_temperature(data_folder, tmp_path):
    path = data_folder / "xrd1d" / "cucr2o4" / "SeqTut.zip"
    with zipfile.ZipFile(path) as archive:
        for name in ("CuCr2O4.cif", "CuO.cif"):
            archive.extract(name, tmp_path)

    def read(q_max, energy_kev):
        return [
            read_phase(tmp_path / f"{n}.cif", q_max_per_a=q_max, energy_kev=energy_kev)
            for n in ("CuCr2O4", "CuO")
        ]

    with Recording(path) as recording:
        model = fed(PhaseSeries(read, wavelength_a=0.413263), recording, np.arange(0, 17, 2))
    kelvin = temperatures(path)[::2]
    result = {k: q.value for k, q in model.result_.items()}
    split = result["lattice_angstrom"][:, 0, 1] - result["lattice_angstrom"][:, 0, 2]
    assert split[0] > 0.004
    assert (np.abs(split[kelvin > 130]) < 5e-4).all()
    assert (np.abs(split[kelvin < 110]) > 5e-4).all()
    assert result["reduced_chi2"].max() < 3
    assert (result["volume"][:, 0] > 0.97).all()


@pytest.mark.parametrize(
    ("name", "there", "absent"),
    [
        ("MnO", ("MnO_225",), ("Mn2O3_206",)),
        ("Mn2O3", ("Mn2O3_206",), ("MnO_225",)),
        ("TiO2+MnO", ("MnO_225", "TiO2_141"), ("Mn2O3_206", "TiO2_136")),
    ],
)
def test_mixtures_are_told_apart_with_computed_cells(data_folder, name, there, absent):
    """Copper K alpha, no monochromator; cells by density functional theory, up to 1 % off."""
    folder = data_folder / "xrd1d" / "autoanalyzer"

    def read(q_max, energy_kev):
        return [
            read_phase(folder / "references" / f"{n}.cif", q_max_per_a=q_max)
            for n in (*there, *absent)
        ]

    with Recording(folder / f"{name}.xy") as recording:
        model = PhaseSeries(read, wavelength_a=CU_A, polarised=True, second_line=CU_DOUBLET)
        result = fed(model, recording, np.arange(1)).result_
    present = result["present"].value[0].astype(bool)
    assert present[: len(there)].all()
    assert not present[len(there) :].any()
    if "MnO_225" in there:
        a = result["lattice_angstrom"].value[0, there.index("MnO_225"), 0]
        assert a == pytest.approx(4.4446, abs=0.002)  # handbooks' value


def test_lines_of_a_coin_cell_stand_where_they_were_found_before(data_folder):
    reference = np.load(data_folder / "operando" / "coincell8" / "reference.npz")
    patterns = reference["intensity"].astype(float)
    model = PhaseSeries(lines=10)
    axes = {"two_theta_deg": reference["two_theta"]}
    result = model.partial_fit(Batch(patterns, np.arange(5), {}, axes=axes)).result_
    tracks = result["peak_tracks"].value
    assert tracks.shape == (5, 10)
    assert np.isfinite(tracks).mean() > 0.95
    off = np.abs(tracks[0][:, None] - reference["peaks"]).min(axis=1)
    assert np.median(off) < 0.05
