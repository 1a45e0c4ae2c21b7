"""The small simulated microscope that faults are put into, but as fast as it can."""

from flyback.profiles.faults.instruments import MICROSCOPE as _DEVICES

MICROSCOPE = {
    "devices": {**_DEVICES, "beam": {**_DEVICES["beam"], "rate": "max"}},
    "analyses": {
        "virtual_images": {},
        "ptychography": {"iterations": 3},
    },
    "metadata": {"facility": "none"},
}
SCAN = {"fov_nm": 0.9, "step_nm": 0.03, "dwell_ms": 0.1}
