"""Plans: generators of messages that a RunEngine carries out."""

from .adaptive import follow
from .operando import operando
from .preprocessors import (
    DoseExceededError,
    beam_blanked_finally,
    beam_blanked_finally_wrapper,
    cell_open_finally,
    cell_open_finally_wrapper,
    column_into_start,
    column_into_start_wrapper,
    dose_budget,
    dose_budget_wrapper,
)
from .scanning import multipass, points, random, raster, serpentine, spiral
from .techniques import cycle, fiducial, gitt, hold, ocv
from .tuning import (
    TuningError,
    found_into_start,
    found_into_start_wrapper,
    tune_camera,
    tune_coils,
    tune_defocus,
    tune_rotation,
)

__all__ = [
    "DoseExceededError",
    "TuningError",
    "beam_blanked_finally",
    "beam_blanked_finally_wrapper",
    "cell_open_finally",
    "cell_open_finally_wrapper",
    "column_into_start",
    "column_into_start_wrapper",
    "cycle",
    "dose_budget",
    "dose_budget_wrapper",
    "fiducial",
    "follow",
    "found_into_start",
    "found_into_start_wrapper",
    "gitt",
    "hold",
    "multipass",
    "ocv",
    "operando",
    "points",
    "random",
    "raster",
    "serpentine",
    "spiral",
    "tune_camera",
    "tune_coils",
    "tune_defocus",
    "tune_rotation",
]
