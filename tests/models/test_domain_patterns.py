"""Patterns of domains as a camera counts them."""

import numpy as np
import pytest

from flyback.models.domains.crystal import (
    IN_PLANE,
)
from flyback.models.domains.patterns import Conditions, simulate_patterns


def test_patterns_turn_with_the_polarization():
    same = Conditions(thickness_nm=20.0, dose_e_per_pattern=1e6, descan_px=(-0.5, -0.5))
    frames = np.empty((4, 64, 64), np.float32)
    simulate_patterns("PbTiO3", IN_PLANE, same, noise=False, out=frames)
    right, left, down, up = frames
    # with the beam on the corner between four pixels, flips are exact
    np.testing.assert_allclose(left, right[::-1, ::-1], rtol=1e-3, atol=0.5)
    np.testing.assert_allclose(down, right.T, rtol=1e-3, atol=0.5)
    np.testing.assert_allclose(up, left.T, rtol=1e-3, atol=0.5)
    assert np.abs(right - left).sum() > 0.05 * right.sum()


def test_rotation_turns_x_towards_y():
    base = Conditions(thickness_nm=15.0, tilt_mrad=(0.4, 1.1), dose_e_per_pattern=1e6)
    turned = Conditions(
        thickness_nm=15.0, tilt_mrad=(0.4, 1.1), dose_e_per_pattern=1e6, rotation_deg=90
    )
    frames = np.empty((2, 1, 64, 64), np.float32)
    simulate_patterns("PbTiO3", ["+y"], base, noise=False, out=frames[0])
    simulate_patterns("PbTiO3", ["+x"], turned, noise=False, out=frames[1])
    np.testing.assert_allclose(frames[1], frames[0], rtol=1e-3, atol=0.5)


def test_counts_are_poisson_and_each_is_its_own():
    many = Conditions(thickness_nm=12.0, dose_e_per_pattern=5e3)
    frames = simulate_patterns("PbTiO3", ["+x"] * 300, many, seed=5)
    mean = np.empty((1, 64, 64), np.float32)
    simulate_patterns("PbTiO3", ["+x"], many, noise=False, out=mean)
    bright = mean[0] > 3
    ratio = frames.var(axis=0)[bright] / mean[0][bright]
    assert ratio.mean() == pytest.approx(1, abs=0.05)
    assert frames.mean(axis=0)[bright] == pytest.approx(mean[0][bright], rel=0.35)
    later = simulate_patterns("PbTiO3", ["+x"] * 2, many, seed=5, first_index=298)
    np.testing.assert_array_equal(later, frames[298:])
    assert not np.array_equal(simulate_patterns("PbTiO3", ["+x"], many, seed=6)[0], frames[0])


def test_a_mixture_is_the_sum_of_its_parts():
    at = Conditions(thickness_nm=18.0, dose_e_per_pattern=1e5, tilt_mrad=(0.5, 0.2))
    frames = np.empty((3, 1, 64, 64), np.float32)
    simulate_patterns("PbTiO3", ["+x"], at, noise=False, out=frames[0])
    simulate_patterns("PbTiO3", ["-y"], at, noise=False, out=frames[1])
    simulate_patterns("PbTiO3", {"+x": 0.7, "-y": 0.3}, at, noise=False, out=frames[2])
    np.testing.assert_allclose(frames[2], 0.7 * frames[0] + 0.3 * frames[1], rtol=1e-4, atol=1e-3)


def test_one_variant_holds_for_all_conditions():
    at = Conditions(thickness_nm=np.array([5.0, 9.0, 14.0]), dose_e_per_pattern=1e4)
    once = simulate_patterns("PbTiO3", {"+x": 1.0}, at)
    np.testing.assert_array_equal(once, simulate_patterns("PbTiO3", ["+x"] * 3, at))


def test_the_cameras_faults_keep_the_electrons():
    ideal = Conditions(thickness_nm=10.0, dose_e_per_pattern=1e5)
    frames = np.empty((4, 1, 64, 64), np.float32)
    simulate_patterns("PbTiO3", ["+y"], ideal, noise=False, out=frames[0])
    for n, change in enumerate(
        ({"blur_px": 1.2}, {"descan_px": (3.0, -2.0)}, {"background_fraction": 0.3}), start=1
    ):
        changed = Conditions(thickness_nm=10.0, dose_e_per_pattern=1e5, **change)
        simulate_patterns("PbTiO3", ["+y"], changed, noise=False, out=frames[n])
    np.testing.assert_allclose(frames[1].sum(), frames[0].sum(), rtol=0.01)
    np.testing.assert_allclose(
        frames[2][0, 20:60, 10:50], frames[0][0, 17:57, 12:52], rtol=1e-3, atol=1e-2
    )
    assert frames[1].max() < frames[0].max()
    between = frames[3][0, 32 + 5, 32 + 5]
    assert between > 10 * frames[0][0, 37, 37]


@pytest.mark.heavy
def test_boracites_domains_differ():
    at = Conditions(thickness_nm=25.0, dose_e_per_pattern=1e6)
    frames = np.empty((4, 64, 64), np.float32)
    simulate_patterns("boracite", IN_PLANE, at, noise=False, out=frames)
    for n in range(4):
        for m in range(n):
            assert np.abs(frames[n] - frames[m]).sum() > 0.01 * frames[n].sum()


@pytest.mark.parametrize(
    ("fractions", "change", "words"),
    [
        (["+x"], {"thickness_nm": -1}, "thickness_nm must lie between 0 and 500"),
        (["+x"], {"tilt_mrad": (99, 0)}, "tilt_mrad must lie"),
        (["+x"], {"tilt_mrad": (1, 2, 3)}, "tilt_mrad must be one for all"),
        (["+x"], {"semi_convergence_angle_mrad": 9}, "would overlap"),
        (["up"], {}, "variant must be one of"),
        ({"+x": 0.5}, {}, "must sum to 1"),
        ({}, {}, "must name at least one variant"),
    ],
)
def test_bad_input_is_named(fractions, change, words):
    with pytest.raises(ValueError, match=words):
        simulate_patterns("PbTiO3", fractions, Conditions(**change))
