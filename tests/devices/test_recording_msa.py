"""EMSA/MAS spectra as several programs write them."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flyback.devices.recording import Recording
from flyback.devices.recording_msa import read_msa
from flyback.tests.devices.test_recording_kinds import said, try_all

COUNTS = np.arange(20) ** 2 % 97
# as the format's paper has it: pairs, the units in the tag of the axis
PAPER = """#FORMAT      : EMSA/MAS Spectral Data File
#VERSION     : 1.0
#TITLE       : NIO EELS OK SHELL
#DATE        : 01-OCT-1991
#TIME        : 12:00
#OWNER       : EMSA/MAS TASK FORCE
#NPOINTS     : 20.
#NCOLUMNS    : 1.
#XUNITS      : Energy Loss (eV)
#YUNITS      : Intensity
#DATATYPE    : XY
#XPERCHAN    : 3.1
#OFFSET      : 520.13
#CHOFFSET    : -168.
#SIGNALTYPE  : ELS
#BEAMKV   -kV: 120.0
#COMMENT     : a comment: with a colon
#SPECTRUM    : Spectral Data Starts Here
{}#ENDOFDATA   :
"""


def head(**tags):
    lines = ["#FORMAT : EMSA/MAS Spectral Data File", "#VERSION : 1.0"]
    lines += [f"#{key.replace('_', ' ')}: {value}" for key, value in tags.items()]
    return "\n".join([*lines, "#SPECTRUM    : Spectral Data Starts Here", ""])


def rows(values, per_line=1, between=", ", ending=","):
    lines = [values[k : k + per_line] for k in range(0, len(values), per_line)]
    return "\n".join(between.join(str(v) for v in line) + ending for line in lines) + "\n"


def check(store, step_kev, offset_kev, counts=COUNTS):
    np.testing.assert_array_equal(store.array("spectra"), [counts])
    wanted = offset_kev + step_kev * np.arange(len(counts))
    np.testing.assert_allclose(store.array("energy_kev_axis"), wanted, rtol=1e-12, atol=1e-12)


def test_the_papers_example():
    x = 520.13 + 3.1 * np.arange(20)
    body = "".join(f"{a:.3f}, {b}.0\n" for a, b in zip(x, COUNTS, strict=True))
    store = read_msa(PAPER.format(body), "a.msa")
    check(store, 3.1e-3, 0.52013)
    assert float(store.array("energy_kev")) == 120
    assert str(store.array("title")) == "NIO EELS OK SHELL"


@pytest.mark.parametrize(
    ("tags", "body", "step", "offset"),
    [  # Oxford: eV, one value a line
        ({"XUNITS": "eV", "XPERCHAN": 10, "OFFSET": -200, "NPOINTS": "20.", "DATATYPE": "Y"},
         rows(COUNTS), 0.01, -0.2),
        # EDAX: keV, five in a line
        ({"XUNITS": "keV", "XPERCHAN": 0.01, "OFFSET": 0, "NCOLUMNS": 5, "SIGNALTYPE": "EDS"},
         rows(COUNTS, 5), 0.01, 0.0),
        # Bruker: the unit in the label, blanks between numbers
        ({"XLABEL": "Energy [keV]", "XPERCHAN": "5.0e-3", "OFFSET": "-0.955"},
         rows(COUNTS, 4, " ", ""), 0.005, -0.955),
        # the unit in the tag itself
        ({"XPERCHAN -eV": "2.5", "OFFSET -eV": "100."}, rows(COUNTS, 1, "", ""), 0.0025, 0.1),
        # no unit at all: an EDS of 10 eV and one of 0.01 keV a channel, and an energy loss
        ({"SIGNALTYPE": "EDS", "XPERCHAN": 10, "OFFSET": 0}, rows(COUNTS), 0.01, 0.0),
        ({"SIGNALTYPE": "EDS", "XPERCHAN": 0.01, "OFFSET": 0}, rows(COUNTS), 0.01, 0.0),
        ({"SIGNALTYPE": "ELS", "XPERCHAN": 0.3, "OFFSET": 400}, rows(COUNTS), 0.0003, 0.4),
        # commas for points
        ({"XUNITS": "keV", "XPERCHAN": "0,02", "OFFSET": "-0,1"},
         rows([f"{v},0" for v in COUNTS], 2, "; ", ""), 0.02, -0.1),
        # tabs, and lower-case tags
        ({"xunits": "EV", "xperchan": 1, "offset": 5}, rows(COUNTS, 3, "\t", ""), 0.001, 0.005),
    ],
)  # fmt: skip
def test_what_programs_write(tags, body, step, offset):
    check(read_msa(head(**tags) + body + "#ENDOFDATA   :\n", "a.msa"), step, offset)


@given(
    counts=st.lists(st.integers(0, 10**6), min_size=4, max_size=60),
    pairs=st.booleans(),
    per_line=st.integers(1, 7),
    unit=st.sampled_from([("eV", 1e-3), ("keV", 1.0), ("Energy (keV)", 1.0)]),
    offset=st.floats(-5, 2000),
    step=st.floats(0.001, 20),
    between=st.sampled_from([", ", ",", " ", "\t", " ; "]),
    newline=st.sampled_from(["\n", "\r\n"]),
)
def test_what_is_written_is_read(counts, pairs, per_line, unit, offset, step, between, newline):
    x = offset + step * np.arange(len(counts))
    numbers = [v for pair in zip(x.tolist(), counts, strict=True) for v in pair]
    text = head(
        NPOINTS=f"{len(counts)}.", DATATYPE="XY" if pairs else "Y", XUNITS=unit[0], OFFSET=offset,
        XPERCHAN=step, NCOLUMNS=per_line,
    ) + rows(numbers if pairs else counts, per_line * (2 if pairs else 1), between, "")  # fmt: skip
    store = read_msa(text.replace("\n", newline), "a.msa")
    np.testing.assert_array_equal(store.array("spectra"), np.array([counts], "<f4"))
    np.testing.assert_allclose(store.array("energy_kev_axis"), x * unit[1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hello", "no EMSA/MAS spectrum"),
        (head(NPOINTS=30) + rows(COUNTS), "states 30 points and holds 20"),
        (head(DATATYPE="XY") + "1, 2\n3\n", "last pair"),
        (head(), "holds no spectrum: 0 points"),
        (head(DATATYPE="XY", XUNITS="eV") + "1, 2\n1, 3\n0, 4\n2, 5\n", "should ascend"),
    ],
)
def test_what_is_no_spectrum(tmp_path, text, words):
    path = tmp_path / "a.msa"
    path.write_text(text)
    assert words in said(path)


def test_wavelengths_are_no_energies():
    store = read_msa(head(XUNITS="nm", XPERCHAN=1, OFFSET=300) + rows(COUNTS), "a.msa")
    assert "energy_kev_axis" not in store.names
    assert "no unit of energy" in store.notes[0]


def test_a_spectrum_that_runs_downwards():
    body = "".join(f"{20 - k} {v}\n" for k, v in enumerate(COUNTS))
    store = read_msa(head(DATATYPE="XY", XUNITS="eV") + body, "a.msa")
    np.testing.assert_array_equal(store.array("spectra"), [COUNTS[::-1]])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(max_size=200))
def test_any_text(tmp_path, text):
    for start in ("", head(), head(DATATYPE="XY", XPERCHAN="1")):
        path = tmp_path / "any.msa"
        path.write_text(start + text, encoding="utf-8", errors="replace")
        assert "\n" not in try_all(path)


def test_spectra_are_recordings_and_series(tmp_path):
    for k in range(3):
        text = head(XUNITS="eV", XPERCHAN=0.5, OFFSET=400) + rows(COUNTS + k)
        (tmp_path / f"s_{k}.msa").write_text(text)
    with Recording([tmp_path / f"s_{k}.msa" for k in range(3)]) as recording:
        assert recording.dims == ("channel",)
        np.testing.assert_array_equal(recording.frames[0:3][:, 5], COUNTS[5] + np.arange(3))
        assert recording.axes["energy_kev_axis"][2] == pytest.approx(0.401)
        assert recording.metadata()["radiation"] == "electron"


def test_rosettasciio_reads_the_same(tmp_path):
    reader = pytest.importorskip("rsciio.msa", reason="the extra 'formats' is not installed")
    path = tmp_path / "a.msa"
    path.write_text(PAPER.format("".join(f"{520.13 + 3.1 * k:.2f}, {v}\n"
                                         for k, v in enumerate(COUNTS))))  # fmt: skip
    (theirs,) = reader.file_reader(str(path))
    with Recording(path) as recording:
        np.testing.assert_allclose(recording.frames[0:1][0], theirs["data"])
        axis = theirs["axes"][0]
        first = recording.axes["energy_kev_axis"]
        assert first[0] * 1e3 == pytest.approx(axis["offset"])
        assert np.diff(first)[0] * 1e3 == pytest.approx(axis["scale"])
