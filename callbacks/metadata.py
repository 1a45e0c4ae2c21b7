"""From a start document to the `Experiment` that the models ask."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..models.experiment import Experiment

METADATA_KEYS = (
    "radiation",
    "energy_kev",
    "semi_convergence_angle_mrad",
    "defocus_nm",
    "angular_sampling_mrad",
    "detector_distance_m",
    "detector_pixel_m",
    "scan_rotation_deg",
    "transposed",
    "beam_current_pa",
    "dose_e_per_pattern",
    "probe_file",
    "dwell_ms",
    "coil_time_constant_ms",
    "descan_px_per_nm",
)


def with_lag(start: Mapping[str, Any], settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the start document with another lag of the coils, where the settings state one."""
    key = "coil_time_constant_ms"
    return {**start, key: settings[key]} if key in settings else start


def experiment_of(start: Mapping[str, Any], settings: Mapping[str, Any]) -> Experiment:
    """Return what is known of the measurement.

    Parameters
    ----------
    start : mapping
        A start document.
    settings : mapping
        Metadata keys that take the place of the document's, for a replay with, say, another
        camera length.

    Raises
    ------
    ValueError
        For a value out of its range, an unknown key or an unreadable probe file.
    """
    unknown = [key for key in settings if key not in METADATA_KEYS]
    if unknown:
        raise ValueError(f"unknown setting {unknown[0]!r} (known: {', '.join(METADATA_KEYS)})")
    metadata = {**start, **settings}
    probe = None
    if metadata.get("probe_file"):
        path = Path(str(metadata["probe_file"]))
        try:
            probe = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(f"probe_file {path} is no readable .npy array: {error}") from error
    return Experiment.from_metadata(metadata, probe=probe)
