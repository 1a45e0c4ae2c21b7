"""The beam follows domain walls: plan, camera, network and map, and all of it in replay."""

import tomllib

import numpy as np
import pytest

import flyback as fb
from flyback.profiles.builtin import SIM_DOMAINS
from flyback.profiles.replay import replay
from flyback.profiles.schema import parse_profile

FIELD_NM, COARSE_NM, BUDGET = 40.0, 5.0, 7.5


def follow(session):
    """Scan once; return the run's uid."""
    plan = session.plans.follow(
        [session.camera],
        session.scan_coils,
        fov_nm=FIELD_NM,
        step_nm=COARSE_NM,
        dwell_ms=0.2,
        n_points=24,
        budget_e_per_a2=BUDGET,
        seed=3,
    )
    (uid,) = session.RE(plan)
    session.join(120)
    return uid


@pytest.fixture
def opened(tmp_path):
    """Open the simulated microscope anew, as fast as it goes."""
    profile = tomllib.loads(SIM_DOMAINS.read_text(encoding="utf-8"))
    profile["devices"]["beam"]["rate"] = "max"
    profile["analyses"] = {"domains": {}}

    def session(name):
        return fb.open(parse_profile("walls", profile), tmp_path / name, progress=False)

    return session


@pytest.mark.heavy
def test_the_beam_follows_the_walls(opened):
    with opened("one") as session:
        uid = follow(session)
        run = session.catalog[uid]
        # where the beam was: the coils lag behind the command
        path = np.asarray(run["scan_coils"]["scan_coils_readback"].read())
        rounds = run["round"].read()
        live = session.live.domains.current.final
        again = replay(uid, "domains", session=session).result
        truth = session.specimen.truth(path)
    coarse = int(rounds["round_through_index"][0])
    assert coarse == round(FIELD_NM / COARSE_NM) ** 2
    assert not rounds["round_fell_back"].any()
    assert float(rounds["round_dose_e_per_a2"][-1]) <= BUDGET
    # the error said shrinks, and the beam is near the walls
    error = np.asarray(rounds["round_error_nm"])[1:]
    assert error[-1] < 0.7 * error[0]
    near = np.median(truth.wall_distance_nm[coarse:])
    assert near < 0.6 * np.median(truth.wall_distance_nm[:coarse])
    # inside the domains, the map is right
    named = np.array([*live["classes"].value, "unknown"])[live["domain"].value]
    inside = truth.wall_distance_nm > 2
    assert np.mean(named[inside] == np.array(truth.classes)[truth.label][inside]) > 0.97
    # and a replay says the same
    for key in ("domain", "domain_probability", "wall"):
        assert np.array_equal(live[key].value, again[key].value), key


@pytest.mark.heavy
def test_the_same_specimen_and_seed_give_the_same_path(opened):
    paths = []
    for name in ("one", "two"):
        with opened(name) as session:
            run = session.catalog[follow(session)]
            paths.append(np.asarray(run["scan_coils"]["scan_coils_commanded"].read()))
    assert np.array_equal(*paths)
