"""Dead time: the two models, and the true rate from what a simulated detector counted."""

from typing import Any

import numpy as np
import pytest
from bluesky.plans import count

from flyback.devices.sim.spectra import Film, SimFluorescenceDetector
from flyback.models.spectra.dead_time import input_rate, output_rate
from flyback.tests.microscope import close_engine, engine


@pytest.mark.parametrize("kind", ["extending", "non_extending"])
def test_the_models_are_those_of_photons_one_by_one_and_are_inverted(kind):
    rng = np.random.default_rng(0)
    rate, dead_s = 3e4, 12e-6
    times = np.cumsum(rng.exponential(1 / rate, 300_000))
    if kind == "extending":
        counted = 1 + int((np.diff(times) > dead_s).sum())
    else:
        counted, free_at = 0, -1.0
        for at in times:
            if at >= free_at:
                counted, free_at = counted + 1, at + dead_s
    found = counted / times[-1]
    assert found == pytest.approx(float(output_rate(rate, dead_s, kind)), rel=0.005)
    rates = np.array([0.0, 10.0, 3e4, 7e4])
    np.testing.assert_allclose(input_rate(output_rate(rates, dead_s, kind), dead_s, kind), rates)
    assert np.isnan(input_rate(2 / dead_s, dead_s, kind))
    assert input_rate(5.0, 0.0, kind) == 5.0


@pytest.mark.parametrize("kind", ["extending", "non_extending"])
def test_the_true_rate_is_read_at_30_percent_dead_time(tmp_path, kind):
    film = Film(masses_ug_cm2={"Pt": 214.5, "Cu": 20.0})

    def read(**settings):
        RE, documents = engine()
        detector: Any = SimFluorescenceDetector(
            name="xrf", specimen=film, rate="max", directory=tmp_path, exposure_s=1.0, **settings
        )
        try:
            RE(count([detector]))
        finally:
            close_engine(RE)
        return documents.check().of("event")[0]["data"]

    free = read()
    true = free["xrf_input_rate"]
    assert free["xrf_output_rate"] == true
    assert free["xrf_live_time_s"] == 1.0
    share = -np.log(0.7) if kind == "extending" else 3 / 7  # of the photons 30 % are lost
    dead = read(dead_time_us=1e6 * share / true, dead_time=kind, seed=1)
    assert dead["xrf_output_rate"] == pytest.approx(0.7 * true, rel=0.02)
    # what one second of counting leaves uncertain, with what the inversion makes of it
    sigma = np.sqrt(true) * 3
    assert abs(dead["xrf_input_rate"] - true) < 4 * sigma
    assert dead["xrf_live_time_s"] == pytest.approx(0.7, rel=0.02)


def test_what_is_no_dead_time(tmp_path):
    film = Film(masses_ug_cm2={"Pt": 1.0})
    with pytest.raises(ValueError, match="'extending' or 'non_extending', not 'paralysed'"):
        SimFluorescenceDetector(name="xrf", specimen=film, dead_time="paralysed")
    with pytest.raises(ValueError, match="dead time must not be negative"):
        output_rate(1.0, -1e-6, "extending")
