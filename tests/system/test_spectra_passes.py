"""Energy-loss maps of several passes and of a spiral, by a session, against the specimen."""

import copy

import numpy as np
import pytest

import flyback as fb
from flyback.devices.sim.spectra import Interphase
from flyback.profiles.schema import parse_profile
from flyback.tests.system.test_spectra import LOSSES

pytestmark = pytest.mark.heavy
SCAN = {"fov_nm": 4, "step_nm": 0.25, "dwell_ms": 20}


def session_of(tmp_path, drift_nm_s=0.0):
    table = copy.deepcopy(LOSSES)
    table["devices"]["specimen"]["drift_x_nm_s"] = drift_nm_s
    return fb.open(parse_profile("losses", table), tmp_path, progress=False)


def mapped(session, plan, **settings):
    detectors = [session.eels], session.scan_coils
    (uid,) = session.RE(getattr(session.plans, plan)(*detectors, **(SCAN | settings)))
    (live,) = session.join(120)
    assert live.error is None
    return uid, {name: quantity.value for name, quantity in live.final.items()}


def share_at(found):
    """Return the share of fluoride at the pixels of a picture, (y, x)."""
    shape = found["rate_image"].shape[1:]
    places = np.stack(np.indices(shape), axis=-1) * found["image_pixel_m"]
    places = (places + found["image_origin_m"]) * 1e9
    return Interphase().fluoride(places.reshape(-1, 2)).reshape(shape)


def share_of(images):
    return images[3] / (images[2] + images[3])


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    with session_of(tmp_path_factory.mktemp("passes")) as session:
        uid, passes = mapped(session, "multipass", passes=4)
        again = fb.replay(uid, "energy_loss", session=session).callback.final
        _, quick = mapped(session, "multipass", passes=4, dwell_ms=10)
        _, spiral = mapped(session, "spiral", passes=2)
    return passes, {name: q.value for name, q in again.items()}, quick, spiral


def test_each_pass_is_normalised_by_its_own_time(scans):
    passes, again, quick, _ = scans
    for name, value in again.items():
        np.testing.assert_array_equal(value, passes[name], err_msg=name)
    assert passes["pass_image"].shape == (4, 4, 16, 16)
    # nothing is damaged, and each pass sees every fourth place: carbonate and fluoride together
    # are the same in all of them, and twice the dwell is no more a second
    both = passes["pass_area"][:, 2:].sum(axis=1)
    sigma = np.sqrt((passes["pass_area_sigma"][:, 2:] ** 2).sum(axis=1))
    assert np.abs(both / both.mean() - 1).max() < max(5 * (sigma / both).max(), 0.01)
    assert quick["pass_area"][:, 2:].sum(axis=1).mean() == pytest.approx(both.mean(), rel=0.01)
    share = share_of(passes["rate_image"])
    assert np.abs(share - share_at(passes)).max() < 0.08
    # a pass knows its own places only, and they are those of the whole map
    seen = np.isfinite(passes["pass_image"][:, 3])
    assert (seen.sum(axis=0) >= 1).all()
    whole = np.broadcast_to(passes["rate_image"][3], seen.shape)
    ones = seen.sum(axis=0) == 1
    np.testing.assert_allclose(
        passes["pass_image"][:, 3][seen & ones], whole[seen & ones], rtol=1e-6
    )


def test_a_spiral_is_no_brighter_where_it_lies_denser(scans):
    *_, spiral = scans
    images = spiral["rate_image"]
    seen = np.isfinite(images[3])
    share, truth = share_of(images)[seen], share_at(spiral)[seen]
    assert np.corrcoef(share, truth)[0, 1] > 0.97  # pixels are as wide as half a grain's edge
    both = images[2:].sum(axis=0)[seen]
    assert np.std(both) / np.mean(both) < 0.05
    passes = scans[0]["pass_area"][:, 2:].sum(axis=1).mean()
    assert np.mean(both) == pytest.approx(passes, rel=0.02)
    first, second = spiral["pass_area"][:, 2:].sum(axis=1)
    assert second == pytest.approx(first, rel=0.02)


def test_a_drift_between_passes_is_in_the_spectra(tmp_path):
    with session_of(tmp_path, drift_nm_s=0.2) as session:
        uid, found = mapped(session, "multipass", passes=4, order="sequential")
        at = session.catalog[uid]["scan_coils"].read()["scan_coils_readback"].values.reshape(-1, 2)
    share = found["area"][:, 3] / found["area"][:, 2:].sum(axis=1)
    moved = (np.arange(256) + 0.5) * 0.02 * 0.2
    drifted = Interphase().fluoride(at + np.stack([np.zeros(256), moved], axis=1))
    assert np.abs(share - drifted).max() < 0.08
    assert np.corrcoef(share, drifted)[0, 1] > np.corrcoef(share, Interphase().fluoride(at))[0, 1]
    assert np.abs(share - Interphase().fluoride(at)).max() > 0.15
