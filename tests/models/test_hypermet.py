"""Lines with tail and shelf: their shape by plain integration, their areas from spectra."""

import numpy as np
import pytest

from flyback.models.base import Batch
from flyback.models.experiment import Experiment
from flyback.models.spectra.lines import family
from flyback.models.spectra.response import Response
from flyback.models.spectra.xrf import Fluorescence

TRUE = Response(0.0, 0.01, noise_kev=0.11, tail=0.03, tail_kev=0.25, shelf=0.02)
CHANNELS = 1500


def test_a_line_is_the_convolution_of_its_parts():
    energy, sigma = 6.4, float(TRUE.sigma_kev(6.4))
    column = TRUE.peaks(np.array([energy]), np.ones(1), CHANNELS)
    fine = 2e-4
    at = np.arange(-2.0, 12.0, fine)
    below = at < energy
    bare = np.where(below, TRUE.tail * np.exp((at - energy) / 0.25) / 0.25, 0.0)
    bare += np.where(below & (at > 0), TRUE.shelf / energy, 0.0)
    around = np.arange(-6 * sigma, 6 * sigma, fine)
    gaussian = np.exp(-0.5 * (around / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
    smeared = np.convolve(bare, gaussian, "same") * fine
    peak = np.exp(-0.5 * ((at - energy) / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
    whole = smeared + (1 - TRUE.tail - TRUE.shelf) * peak
    edges = 0.01 * (np.arange(CHANNELS + 1) - 0.5)
    total = np.concatenate([[0.0], np.cumsum(whole) * fine])
    expected = np.diff(np.interp(edges, np.append(at, 12.0), total))
    inside = slice(30, CHANNELS)  # at zero energy itself the shelf ends sharply
    assert np.abs(column - expected)[inside].max() < 2e-3 * column.max()
    assert column.sum() == pytest.approx(1.0, abs=1e-6)
    level = column[100:280] / 0.01  # below what the tail reaches
    np.testing.assert_allclose(level, TRUE.shelf / energy, rtol=2e-3)


@pytest.mark.heavy
def test_areas_are_recovered_with_tail_and_shelf_stated():
    rng = np.random.default_rng(0)
    names = [("Ca", "K"), ("Fe", "K"), ("Pt", "L"), ("Cu", "K")]
    families = [found for f in names if (found := family(*f, 18.0)) is not None]
    columns = np.stack([TRUE.column(each, CHANNELS) for each in families], axis=1)
    truth = np.array([900.0, 700.0, 1500.0, 800.0]) * (0.5 + rng.random((300, 4)))
    smooth = 0.6 * np.exp(-np.arange(CHANNELS) / 600)
    frames = rng.poisson(truth @ columns.T + smooth).astype(np.uint16)

    def fitted(**settings):
        model = Fluorescence(
            Experiment(energy_kev=18.0, radiation="xray"),
            ["Ca", "Fe", "Pt", "Cu"],
            0.01 * np.arange(CHANNELS),
            pileup=False,
            **settings,
        )
        model.partial_fit(Batch(frames, np.arange(300))).converge()
        return {name: quantity.value for name, quantity in model.result_.items()}

    found = fitted(tail=0.03, tail_kev=0.25, shelf=0.02)
    pulls = (found["area"] - truth) / found["area_sigma"]
    assert np.abs(np.median(pulls, axis=0)).max() < 0.5
    assert pulls.std(axis=0) == pytest.approx(1.0, abs=0.25)
    bare = fitted()
    lost = 1 - (bare["area"].sum(axis=0) / truth.sum(axis=0))
    assert (lost > 0.01).all()  # what lies in tail and shelf
    assert np.median(bare["chi2"]) > np.median(found["chi2"])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"tail": 0.6, "shelf": 0.5}, "tail and shelf must not be negative and add up to less"),
        ({"shelf": -0.1}, "tail and shelf must not be negative"),
        ({"tail": 0.1, "tail_kev": 0.0}, "tail_kev must be positive"),
    ],
)
def test_what_is_no_response(settings, says):
    with pytest.raises(ValueError, match=says):
        Response(0.0, 0.01, **settings)
