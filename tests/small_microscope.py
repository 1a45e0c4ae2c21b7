"""A small simulated microscope, as fast as it can."""

MICROSCOPE = {
    "devices": {
        "column": {
            "plugin": "column",
            "energy_kev": 200.0,
            "semi_convergence_angle_mrad": 20.0,
            "angular_sampling_mrad": 1.6,
            "beam_current_pa": 8.0,
        },
        "specimen": {"plugin": "sim_specimen", "thickness_nm": 2.0, "field_nm": 4.0},
        "beam": {
            "plugin": "sim_beam",
            "specimen": "@specimen",
            "column": "@column",
            "rate": "max",
        },
        "blanker": {"plugin": "sim_blanker", "beam": "@beam"},
        "scan_coils": {"plugin": "sim_scan_coils", "beam": "@beam", "blanker": "@blanker"},
        "camera": {"plugin": "sim_pixel_detector", "beam": "@beam", "pixels": 32},
    },
    "analyses": {
        "virtual_images": {},
        "ptychography": {"iterations": 3},
    },
    "metadata": {"facility": "none"},
}
SCAN = {"fov_nm": 0.9, "step_nm": 0.03, "dwell_ms": 0.1}
