"""What a recorded quantity is called by the programs that write it, and in which unit.

Our own name comes first; then the spellings of py4DSTEM, ptypy, tike, abTEM and CXI.
"""

from __future__ import annotations

_JOULE_IN_KEV = 1 / 1.602176634e-16

ARRAYS: dict[str, tuple[str, ...]] = {
    "frames": (
        "frames",
        "entry/data/frames",
        "data",
        "entry_1/data_1/data",
        "entry_1/instrument_1/detector_1/data",
        "entry/data/data",
        "entry/instrument/detector/data",
        "exchange/data",
        "datacube",
        "datacube/data",
        "4DSTEM/datacube/data",
        "diffraction",
        "intensities",
        "dp",
        "diffraction_patterns",
        "diffraction_intensities",
        "array0",
        "array",
        "images",
        "patterns",
        "intensity",
        "element_spectra",
        "spectra",
        "spectrum",
    ),
    "probe": ("probe", "initial_probe", "probe_guess", "entry_1/instrument_1/source_1/probe"),
    "dark": ("dark", "dark_frame", "background", "entry_1/instrument_1/detector_1/dark"),
    "gain": ("gain", "gain_map"),
    "bad_pixels": ("bad_pixels", "bad_pixel_mask", "hot_pixels"),
    "good_pixels": ("mask", "good_pixels"),
    "time_s": ("time_s", "timestamps", "time"),
}
"""Arrays; where several are there, the first is taken."""

NUMBERS: dict[str, tuple[tuple[str, float], ...]] = {
    "step_m": (
        ("step_m", 1.0),
        ("step_nm", 1e-9),
        ("step_A", 1e-10),
        ("scan_step_m", 1.0),
        ("scan_step_A", 1e-10),
        ("R_pixel_size_A", 1e-10),
    ),
    "energy_kev": (
        ("energy_kev", 1.0),
        ("energy_keV", 1.0),
        ("energy_eV", 1e-3),
        ("energy_ev", 1e-3),
        ("accelerating_voltage_kv", 1.0),
        ("accelerating_voltage_V", 1e-3),
        ("beam_energy_kev", 1.0),
        ("entry_1/instrument_1/source_1/energy", _JOULE_IN_KEV),
        ("entry_1/instrument_1/beam_1/energy", _JOULE_IN_KEV),
    ),
    "wavelength_m": (("wavelength_m", 1.0), ("wavelength_A", 1e-10), ("lambda_m", 1.0)),
    "angular_sampling_mrad": (
        ("angular_sampling_mrad", 1.0),
        ("angular_sampling_rad", 1e3),
        ("mrad_per_pixel", 1.0),
        ("Q_pixel_size_mrad", 1.0),
    ),
    "detector_distance_m": (
        ("detector_distance_m", 1.0),
        ("distance_m", 1.0),
        ("camera_length_m", 1.0),
        ("entry_1/instrument_1/detector_1/distance", 1.0),
    ),
    "detector_pixel_m": (
        ("detector_pixel_m", 1.0),
        ("pixel_size_m", 1.0),
        ("psize", 1.0),
        ("entry_1/instrument_1/detector_1/x_pixel_size", 1.0),
    ),
    "semi_convergence_angle_mrad": (
        ("semi_convergence_angle_mrad", 1.0),
        ("semiangle_mrad", 1.0),
        ("semiangle_cutoff", 1.0),
        ("semiangle_cutoff_mrad", 1.0),
        ("convergence_semi_angle_mrad", 1.0),
        ("alpha_mrad", 1.0),
    ),
    "defocus_nm": (
        ("defocus_nm", 1.0),
        ("defocus_A", 0.1),
        ("defocus_m", 1e9),
        ("C10_A", -0.1),
        ("C10_nm", -1.0),
    ),
    "scan_rotation_deg": (("scan_rotation_deg", 1.0), ("rotation_deg", 1.0)),
    "dose_e_per_pattern": (("dose_e_per_pattern", 1.0), ("dose_per_pattern", 1.0)),
    "beam_current_pa": (("beam_current_pa", 1.0), ("beam_current_A", 1e12)),
    "dwell_ms": (("dwell_ms", 1.0), ("dwell_s", 1e3), ("exposure_s", 1e3), ("dwell_us", 1e-3)),
    "saturation_counts": (("saturation_counts", 1.0), ("saturation_value", 1.0)),
    "center_px": (("center_px", 1.0), ("bf_center_px", 1.0)),
}
"""Numbers with the factor to our unit; where several are there, the first is taken."""

AMBIGUOUS = {"energy": "energy_kev", "defocus": "defocus_nm", "distance": "detector_distance_m"}
"""Names without a unit; the reader says what it assumed."""

TEXTS: dict[str, tuple[str, ...]] = {
    "radiation": ("radiation", "entry_1/instrument_1/source_1/probe_type"),
    "sample": ("sample", "title", "entry_1/sample_1/name", "entry/sample/name"),
}

AXES: dict[str, tuple[tuple[str, float], ...]] = {
    "two_theta_deg": (("two_theta_deg", 1.0), ("two_theta", 1.0), ("tth", 1.0), ("2theta", 1.0)),
    "q_per_a": (("q_per_a", 1.0), ("q_invA", 1.0), ("q_A", 1.0), ("q_per_nm", 0.1), ("q_nm", 0.1)),
    "energy_kev_axis": (
        ("energy_kev_axis", 1.0),
        ("energy_axis_kev", 1.0),
        ("energy_ev_axis", 1e-3),
        ("energy_axis_ev", 1e-3),
    ),
    "axis": (("axis", 1.0),),
    "sigma": (("sigma", 1.0), ("sigmas", 1.0), ("errors", 1.0)),
}
"""Arrays that go with patterns of one line and spectra, with the factor to our unit."""

CALIBRATION = ("energy_offset_kev", "energy_slope_kev")
"""Two numbers from which an energy axis is made: offset + slope * channel."""

MONITORS = ("monitor", "entry/monitor/data", "entry/instrument/monitor/data", "entry/control/data")
"""Numbers by frame by which intensities are to be divided."""

PER_FRAME: dict[str, tuple[str, ...]] = {
    "time_s": ARRAYS["time_s"],
    "taken_utc_s": ("taken_utc_s",),
    "taken_with_zone": ("taken_with_zone",),
    "sigma": tuple(name for name, _ in AXES["sigma"]),
    "monitor": MONITORS,
    "positions_m": ("positions_m",),
    "positions_px": ("positions_px",),
}
"""Arrays with a row for each frame, which are joined where several files are one series."""
