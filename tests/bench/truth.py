"""How true live and final phases are: every trajectory, dose, drift and lag, on known objects.

    python -m flyback.tests.bench.truth [trajectories] [doses] [drift] [lag]

Prints rows of a Markdown table. A frame of 64 x 64 pixels at 200 keV and 20 mrad, in focus, steps
of 0.3 angstrom over a field of 19 angstrom, 5 kHz. Correlation is with the true phase, both
band-limited to 1.5 convergence angles; resolution is where the Fourier ring correlation with the
truth falls below a half.
"""

import sys

import numpy as np
import scipy.optimize

from flyback.models.base import Batch
from flyback.models.calibration import lagging
from flyback.models.experiment import Experiment
from flyback.models.physics import wavelength_m
from flyback.models.ptychography.choose import Ptychography
from flyback.models.ptychography.forward import simulate_frames
from flyback.models.ptychography.merit import ring_correlation
from flyback.models.ptychography.probe import aberrated_probe
from flyback.models.trajectories import (
    Archimedean,
    Fermat,
    Multipass,
    Random,
    Raster,
    Serpentine,
)
from flyback.tests.models.scenes import atoms

BOX, ALPHA_RAD, STEP_NM, DWELL_S = 64, 0.02, 0.03, 2e-4
WAVELENGTH_M = wavelength_m("electron", 200.0)
PIXEL_NM = STEP_NM
SAMPLING_RAD = WAVELENGTH_M / (BOX * PIXEL_NM * 1e-9)
FIELD = {"fov": 64 * STEP_NM, "step": STEP_NM}
SCANS = {
    "raster": Raster(**FIELD),
    "serpentine": Serpentine(**FIELD),
    "Archimedean spiral": Archimedean(**FIELD),
    "Archimedean, 4 passes": Archimedean(**FIELD, passes=4),
    "Fermat spiral": Fermat(**FIELD),
    "interleaved, 4 passes": Multipass(**FIELD, passes=4, order="interleaved"),
    "interleaved, 9 passes, skip 3": Multipass(**FIELD, passes=9, order="interleaved", skip=3),
    "random": Random(**FIELD),
}
PEAK_RAD = 0.25


class Scan:
    """Frames over a known object, and what a run would say of them."""

    def __init__(self, path, dose_e_a2, *, drift_a_s=0.0, lag=0.0, dropped=0.0, seed=1):
        n, self.drifts = path.n_points, drift_a_s != 0
        time_s = np.arange(n) * DWELL_S
        given = path.positions
        real = given
        if lag:
            real, _ = lagging(given, given[0], 1.0, lag)
        direction = np.array([0.8, 0.6]) * 0.1  # nm an angstrom
        real = real + np.outer(time_s - time_s.mean(), drift_a_s * direction)
        margin = BOX // 2 + 24
        self.origin_m = (given.min(axis=0) - margin * PIXEL_NM) * 1e-9
        pixels = (real * 1e-9 - self.origin_m) / (PIXEL_NM * 1e-9)
        side = int(np.ceil(np.ptp(given, axis=0).max() / PIXEL_NM)) + 2 * margin
        self.phase = atoms((side, side), PEAK_RAD)
        sampling = (SAMPLING_RAD, SAMPLING_RAD)
        probe = aberrated_probe((BOX, BOX), WAVELENGTH_M, sampling, ALPHA_RAD)
        obj = np.exp(1j * self.phase).astype(np.complex64)
        counts = dose_e_a2 * (STEP_NM * 10) ** 2
        frames = simulate_frames(obj, probe, pixels, counts, seed=seed, workers=2)
        kept = np.random.default_rng(seed).random(n) >= dropped
        self.frames, self.index = frames[kept], np.flatnonzero(kept)
        self.positions, self.time_s = given[kept] * 1e-9, time_s[kept]
        self.lagging = real[kept] * 1e-9
        self.experiment = Experiment.from_metadata(
            {
                "radiation": "electron",
                "energy_kev": 200.0,
                "semi_convergence_angle_mrad": ALPHA_RAD * 1e3,
                "angular_sampling_mrad": SAMPLING_RAD * 1e3,
                "defocus_nm": 0.0,
                "scan_rotation_deg": 0.0,
                "transposed": False,
                "trajectory": path.to_dict(),
            }
        )

    def reconstruct(self, positions=None, **settings):
        """Return live and final (correlation, resolution in angstrom), and the trust reasons."""
        positions = self.positions if positions is None else positions
        model = Ptychography(self.experiment, **settings)
        for first in range(0, len(self.frames), 256):
            rows = slice(first, first + 256)
            coordinates = {"positions_m": positions[rows], "time_s": self.time_s[rows]}
            model.partial_fit(Batch(self.frames[rows], self.index[rows], coordinates))
        live = self.judge(model.result_)
        result = model.converge().result_
        return live, self.judge(result), result["trust_reasons"].value

    def judge(self, result):
        """Return correlation and resolution of a result's phase."""
        ours, origin = result["object_phase"].value, result["object_origin_m"].value
        pixel = result["object_pixel_m"].value
        first = (origin - self.origin_m) / pixel
        whole = np.rint(first).astype(int)
        size = np.array(ours.shape)
        # the fields overlap in the middle; what is left of a pixel is a shift of the spectrum
        low = np.maximum(whole, 0)
        high = np.minimum(whole + size, self.phase.shape)
        truth = self.phase[low[0] : high[0], low[1] : high[1]]
        seen = shifted(ours, first - whole)
        if self.drifts:  # a drift leaves open where the specimen was when it was imaged
            seen = registered(seen, whole, self.phase, pixel[0])
        seen = seen[low[0] - whole[0] : high[0] - whole[0], low[1] - whole[1] : high[1] - whole[1]]
        scanned = np.ptp(self.positions, axis=0) / pixel
        # a square within a spiral's disc
        side = 0.66 * scanned
        corner = (self.positions.min(axis=0) - self.origin_m) / pixel - low + 0.17 * scanned
        a, b = np.rint(corner).astype(int), np.rint(corner + side).astype(int)
        window = np.s_[a[0] : b[0], a[1] : b[1]]
        pair = [limited(picture, pixel[0], 1.5)[window] for picture in (seen, truth)]
        correlation = float(np.corrcoef(pair[0].ravel(), pair[1].ravel())[0, 1])
        one, other = (np.exp(1j * picture).astype(np.complex64) for picture in (seen, truth))
        frc = ring_correlation(one, other, corner, side)
        below = np.flatnonzero(~(frc[1:] >= 0.5))
        ring = (below[0] if len(below) else len(frc) - 1) + 0.5
        return correlation, float((b - a).min() * pixel[0] * 1e10 / ring)


def registered(picture, corner, truth, pixel_m):
    """Displace a picture, whose corner lies there on the truth, to where they agree best."""
    low, high = np.maximum(corner, 0), np.minimum(corner + picture.shape, truth.shape)
    window = np.s_[low[0] : high[0], low[1] : high[1]]
    inside = np.s_[tuple(slice(a, b) for a, b in zip(low - corner, high - corner, strict=True))]
    one, other = (limited(p, pixel_m, 1.5) for p in (truth[window], picture[inside]))
    edge = np.multiply.outer(*(np.hanning(n) for n in one.shape))
    spectra = [np.fft.fft2((p - p.mean()) * edge) for p in (one, other)]

    def agreement(shift):
        f = [np.fft.fftfreq(n) for n in one.shape]
        ramp = np.exp(-2j * np.pi * (f[0][:, None] * shift[0] + f[1][None] * shift[1]))
        return -float((spectra[0].conj() * spectra[1] * ramp).sum().real)

    peak = np.fft.ifft2(spectra[0] * spectra[1].conj()).real
    start = np.array(np.unravel_index(peak.argmax(), peak.shape), float)
    start -= np.where(start > np.array(peak.shape) / 2, peak.shape, 0)
    return shifted(picture, scipy.optimize.minimize(agreement, start, method="Nelder-Mead").x)


def shifted(picture, pixels):
    f = [np.fft.fftfreq(n) for n in picture.shape]
    ramp = np.exp(-2j * np.pi * (f[0][:, None] * pixels[0] + f[1][None] * pixels[1]))
    return np.fft.ifft2(np.fft.fft2(picture) * ramp).real


def limited(picture, pixel_m, angles):
    spectrum = np.fft.fft2(picture - picture.mean())
    q = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n, pixel_m) for n in picture.shape), indexing="ij"))
    spectrum[q >= angles * ALPHA_RAD / WAVELENGTH_M] = 0
    return np.fft.ifft2(spectrum).real


def row(name, *results):
    cells = [
        f"{live[0]:.3f} / {final[0]:.3f} | {live[1]:.2f} / {final[1]:.2f}"
        for live, final, _ in results
    ]
    print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def trajectories():
    for name, path in SCANS.items():
        row(name, Scan(path, 1e5).reconstruct())
    row("raster, 10 % dropped", Scan(SCANS["raster"], 1e5, dropped=0.1).reconstruct())


def doses():
    for dose in (1e2, 1e3, 1e4, 1e5, 1e6):
        row(
            f"{dose:.0e}",
            *(Scan(SCANS[k], dose).reconstruct() for k in ("raster", "Fermat spiral")),
        )


def drift():
    names = (
        "interleaved, 4 passes",
        "Archimedean, 4 passes",
        "random",
        "Archimedean spiral",
        "raster",
    )
    for name in names:
        for rate in (0.5, 1.0, 2.0):
            scan = Scan(SCANS[name], 1e5, drift_a_s=rate)
            row(f"{name}, {rate:g} A/s", scan.reconstruct(drift="off"), scan.reconstruct())


def lag():
    for name in ("raster", "Archimedean spiral", "Fermat spiral", "interleaved, 4 passes"):
        for constant in (0.2, 0.5):
            if name == "Fermat spiral" and constant > 0.2:
                continue  # each step is a jump across the field: coils so slow scan another one
            scan = Scan(SCANS[name], 1e5, lag=constant)
            row(
                f"{name}, {constant:g} dwell",
                scan.reconstruct(),
                scan.reconstruct(positions=scan.lagging),
            )


TABLES = {"trajectories": trajectories, "doses": doses, "drift": drift, "lag": lag}


if __name__ == "__main__":
    for table in sys.argv[1:] or TABLES:
        print(f"\n{table}", flush=True)
        TABLES[table]()
