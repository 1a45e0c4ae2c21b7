"""Labelled patterns, and how they compare with somebody else's."""

import numpy as np
import pytest

from flyback.models.domains.patterns import Conditions, simulate_patterns
from flyback.models.domains.simulation import CLASSES, Ranges, labelled_patterns


def test_a_set_says_all_about_itself_and_can_be_saved(tmp_path):
    ranges = Ranges(
        thickness_nm=(12.0, 18.0),
        tilt_mrad=(0.5, 1.0),
        dose_e_per_pattern=(1e3, 2e3),
        descan_px=(-1.0, 1.0),
        walls=0.5,
    )
    made = labelled_patterns("PbTiO3", 120, 3, ranges)
    np.savez_compressed(tmp_path / "set.npz", **made)
    found = np.load(tmp_path / "set.npz")
    assert found["patterns"].shape == (120, 64, 64)
    assert found["patterns"].dtype == np.uint16
    assert found["label"].dtype == np.int8
    assert tuple(found["classes"]) == CLASSES
    assert set(found["label"]) == set(range(5))
    assert found["angular_sampling_mrad"] == 0.5
    assert (found["thickness_nm"] >= 12).all()
    assert (found["thickness_nm"] <= 18).all()
    size = np.hypot(*found["tilt_mrad"].T)
    assert size.min() >= 0.5 - 1e-6
    assert size.max() <= 1 + 1e-6
    astride = found["second_label"] >= 0
    assert 0.3 < astride.mean() < 0.7
    assert (found["second_label"] != found["label"]).all()
    assert (found["second_fraction"][~astride] == 0).all()
    assert (found["second_fraction"][astride] >= 0.05).all()
    assert (found["second_fraction"] <= 0.45 + 1e-6).all()
    counts = found["patterns"].sum(axis=(1, 2))
    assert (counts <= 1.2 * found["dose_e_per_pattern"]).all()
    assert (counts > 0.5 * found["dose_e_per_pattern"]).all()


def test_more_begin_as_fewer_and_seeds_differ():
    thin = Ranges(thickness_nm=(8.0, 18.0), tilt_mrad=(0.0, 1.0))
    few, many = labelled_patterns("PbTiO3", 5, 1, thin), labelled_patterns("PbTiO3", 9, 1, thin)
    for name in ("patterns", "label", "thickness_nm", "tilt_mrad"):
        np.testing.assert_array_equal(few[name], many[name][:5])
    assert not np.array_equal(few["patterns"], labelled_patterns("PbTiO3", 5, 2, thin)["patterns"])
    assert labelled_patterns("PbTiO3", 0)["patterns"].shape == (0, 64, 64)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"thickness_nm": (30.0, 10.0)}, "thickness_nm must be two numbers"),
        ({"walls": 2.0}, "walls must lie"),
        ({"minority": (0.1, 0.9)}, "minority must lie"),
        ({"dose_e_per_pattern": (0.0, 10.0)}, "dose_e_per_pattern must be more"),
    ],
)
def test_bad_ranges_are_named(change, words):
    with pytest.raises(ValueError, match=words):
        Ranges(**change)


@pytest.mark.data
@pytest.mark.heavy
def test_abtems_patterns_of_known_thickness_and_tilt_are_recognised(data_folder):
    """The reference set calls array rows x; its "+x" is a polarization along +y here."""
    there = np.load(data_folder / "domains" / "train_labelled.npz")
    some = slice(0, None, 8)
    seen, label = there["patterns"][some].astype(float), there["label"][some]
    doses = seen.sum(axis=(1, 2))
    conditions = Conditions(
        thickness_nm=there["thickness_A"][some] / 10,
        tilt_mrad=there["tilt_mrad"][some],
        dose_e_per_pattern=doses,
    )
    names = {"+x": "+y", "-x": "-y", "+y": "+x", "-y": "-x", "c": "+z"}
    likeness = []
    for name in there["classes"]:
        model = np.empty(seen.shape, np.float32)
        simulate_patterns(
            "PbTiO3", [names[str(name)]] * len(seen), conditions, noise=False, out=model
        )
        likeness.append(correlation(np.sqrt(model), np.sqrt(seen)))
    likeness = np.array(likeness)
    assert (likeness.argmax(axis=0) == label).mean() > 0.99
    own = likeness[label, np.arange(len(label))]
    # counting noise alone would leave .97
    assert own.mean() > 0.90
    assert own.min() > 0.82


def correlation(one, other):
    one, other = (f.reshape(len(f), -1) for f in (one, other))
    one, other = (f - f.mean(axis=1, keepdims=True) for f in (one, other))
    return (one * other).sum(axis=1) / np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
