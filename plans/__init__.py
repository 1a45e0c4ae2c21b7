"""Plans: generators of messages that a RunEngine carries out."""

from .preprocessors import (
    DoseExceededError,
    beam_blanked_finally,
    beam_blanked_finally_wrapper,
    column_into_start,
    column_into_start_wrapper,
    dose_budget,
    dose_budget_wrapper,
)
from .scanning import multipass, points, random, raster, serpentine, spiral

__all__ = [
    "DoseExceededError",
    "beam_blanked_finally",
    "beam_blanked_finally_wrapper",
    "column_into_start",
    "column_into_start_wrapper",
    "dose_budget",
    "dose_budget_wrapper",
    "multipass",
    "points",
    "random",
    "raster",
    "serpentine",
    "spiral",
]
