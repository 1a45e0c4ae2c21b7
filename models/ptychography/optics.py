"""What may be changed after the frames have been taken: the aperture, aberrations and frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from ..experiment import Experiment
from .geometry import into_detector, into_scan
from .probe import aperture, chi


@dataclass(frozen=True)
class Optics:
    """Everything that lives in the overlap function alone.

    Parameters
    ----------
    wavelength_m : float, m
    angular_sampling_rad : (y, x), rad per detector pixel
    semi_convergence_angle_rad : float, rad
    scan_rotation_rad : float, rad
    transposed : bool
        The detector's rows and columns are swapped before it is turned.
    aberrations : tuple of (name, value)
        As `probe.chi` takes them, the defocus with them, sorted; what is zero is left out.
    """

    wavelength_m: float
    angular_sampling_rad: tuple[float, float]
    semi_convergence_angle_rad: float
    scan_rotation_rad: float
    transposed: bool
    aberrations: tuple[tuple[str, float], ...]

    @classmethod
    def of(cls, experiment: Experiment, aberrations: Mapping[str, float]) -> Self:
        """Return the optics of an experiment; its defocus is added to the aberrations.

        Raises
        ------
        MissingMetadata
            When wavelength, angular sampling or semi-convergence angle is unknown.
        ValueError
            When an aberration is unknown.
        """
        known = dict(aberrations)
        known["C10"] = known.get("C10", 0.0) - experiment.defocus_m
        wavelength = experiment.need("wavelength_m")
        chi(np.zeros(1), np.zeros(1), wavelength, known)
        lengths = {k: float(v) for k, v in known.items() if k.startswith("C") and v}
        axes = {f"phi{k[1:]}" for k in lengths}
        azimuths = {k: float(v) for k, v in known.items() if k in axes}
        return cls(
            wavelength,
            experiment.need("angular_sampling_rad"),
            experiment.need("semi_convergence_angle_rad"),
            experiment.scan_rotation_rad,
            bool(experiment.transposed),
            tuple(sorted((lengths | azimuths).items())),
        )

    def amplitude(self, y_rad: np.ndarray, x_rad: np.ndarray) -> np.ndarray:
        """Return the aperture's amplitude at angles that broadcast, float64."""
        sampling, angle = self.angular_sampling_rad, self.semi_convergence_angle_rad
        return np.abs(aperture(y_rad, x_rad, angle, sampling, self.wavelength_m, {}))

    def cycles(self, y_rad: np.ndarray, x_rad: np.ndarray) -> np.ndarray:
        """Return the aberration function in cycles at angles that broadcast, float64."""
        return chi(y_rad, x_rad, self.wavelength_m, dict(self.aberrations)) / (2 * np.pi)

    def shifts_px(self, q_per_m: np.ndarray) -> np.ndarray:
        """Return how far spatial frequencies of the scan deflect the beam on the detector.

        Parameters
        ----------
        q_per_m : (..., 2) float64, 1/m
            In the scan's frame.

        Returns
        -------
        (..., 2) float64, detector pixels
        """
        angles = q_per_m * self.wavelength_m
        turned = into_detector(angles, self.scan_rotation_rad, self.transposed)
        return turned / np.array(self.angular_sampling_rad)

    def image_shifts_m(self, angles_rad: np.ndarray, step_rad: float = 1e-6) -> np.ndarray:
        """Return how far the bright-field image of a tilt is displaced.

        ``-grad chi / (2 pi)`` in the detector's frame, turned into the scan's.

        Parameters
        ----------
        angles_rad : (K, 2) float64, rad
            Detector angles, in the detector's frame.
        step_rad : float, rad
            Of the difference quotient.

        Returns
        -------
        (K, 2) float64, m
            In the scan's frame: the image seen at angle k is the object's at ``r - shift``.
        """
        y, x = angles_rad.T
        half = step_rad / 2
        slope = np.stack(
            [
                self.cycles(y + half, x) - self.cycles(y - half, x),
                self.cycles(y, x + half) - self.cycles(y, x - half),
            ],
            axis=1,
        )
        shifts = -slope / step_rad * self.wavelength_m
        return into_scan(shifts, self.scan_rotation_rad, self.transposed)
