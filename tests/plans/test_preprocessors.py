"""Preprocessors: the beam, the dose and the column."""

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import pytest

from flyback.plans import (
    DoseExceededError,
    beam_blanked_finally,
    beam_blanked_finally_wrapper,
    column_into_start,
    dose_budget,
    dose_budget_wrapper,
    raster,
)


def test_a_plan_that_forgets_the_beam_is_blanked(scope, run_engine):
    RE, _ = run_engine

    def forgetful():
        yield from bps.mv(scope.blanker, "open")
        assert scope.beam.on
        raise ArithmeticError("and fails")

    with pytest.raises(ArithmeticError):
        RE(beam_blanked_finally_wrapper(forgetful(), scope.blanker))
    assert not scope.beam.on

    @beam_blanked_finally(scope.blanker)
    def decorated():
        yield from bps.mv(scope.blanker, "open")
        return "done"

    RE(decorated())
    assert not scope.beam.on


def test_the_dose_budget_counts_over_runs(scope, run_engine):
    RE, documents = run_engine

    def scan():
        yield from raster(scope.camera, scope.scan_coils, fov_nm=2, step_nm=0.5, dwell_ms=1.0)

    RE(scan())
    once = documents.start["dose_e_per_a2"]

    @dose_budget(2.5 * once)
    def four():
        for _ in range(4):
            yield from scan()

    documents.all.clear()
    with pytest.raises(DoseExceededError, match="more than the budget"):
        RE(four())
    assert len(documents.of("start")) == 2
    assert not scope.beam.on


def test_a_run_of_unknown_dose_is_refused_and_others_are_not_counted(scope, run_engine):
    RE, documents = run_engine
    scope.column.beam_current_pa.put(0.0)
    with pytest.raises(DoseExceededError, match="beam_current_pa"):
        RE(dose_budget_wrapper(raster(scope.camera, scope.scan_coils, fov_nm=1), 1e9))
    assert documents.all == []
    RE(dose_budget_wrapper(bp.count([scope.scan_coils]), 1.0))
    with pytest.raises(ValueError, match="must be positive"):
        RE(dose_budget_wrapper(iter(()), 0.0))


def test_the_columns_state_is_that_of_the_moment_and_the_plan_wins(scope, run_engine):
    RE, documents = run_engine

    @column_into_start(scope.column)
    def series():
        for defocus in (10.0, 20.0):
            yield from bps.mv(scope.column.defocus_nm, defocus)
            yield from raster(
                scope.camera, scope.scan_coils, fov_nm=1, md={"semi_convergence_angle_mrad": 7.0}
            )

    RE(series())
    assert [start["defocus_nm"] for start in documents.of("start")] == [10.0, 20.0]
    assert documents.start["semi_convergence_angle_mrad"] == 7.0
