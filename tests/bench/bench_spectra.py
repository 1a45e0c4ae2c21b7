"""Spectra per second: one linear non-negative fit, beside PyMca and scipy in the same run."""

import os
from functools import cache

import numpy as np
import pytest

from flyback.models.spectra.background import hats
from flyback.models.spectra.detector_fit import Scatter
from flyback.models.spectra.linear_fit import LinearFit
from flyback.models.spectra.lines import family
from flyback.models.spectra.response import Response
from flyback.tests.bench.yardstick import cpu_seconds, record

CHANNELS, LOW, HIGH, N = 2048, 60, 1950, 20_000
ENERGY_KEV = 18.0
KS = ("Cu", "Fe", "Ni", "Cr", "Ti", "Ca", "K", "Ar", "Cl", "S", "P", "Si", "Zn", "As")
FAMILIES = [("Pt", "L"), ("Pt", "M"), *((name, "K") for name in KS)]
MEAN = [3000, 300, 800, 200, 50, 100, 20, 60, 40, 150, 100, 80, 120, 60, 30, 10]
MEAN += [1500, 4000, 900, 500, 300, 600]  # scatter, background
RESPONSE = Response(0.0, 0.01, noise_kev=0.085, fano=0.114, escape=False)


@cache
def spectra():
    """16 families, elastic and Compton peaks and 4 terms of background; Poisson, a map's spread."""
    rng = np.random.default_rng(20251116)
    lines = [RESPONSE.column(family(*f, ENERGY_KEV), CHANNELS) for f in FAMILIES]
    scatter = Scatter(ENERGY_KEV).column(RESPONSE, CHANNELS)
    smooth = hats(CHANNELS, 4)
    columns = np.stack([*lines, *scatter, *(smooth / smooth.sum(axis=0)).T], axis=1)
    truth = np.asarray(MEAN) * rng.gamma(4.0, 0.25, (N, len(MEAN)))
    truth[:, :16] *= rng.random((N, 16)) < 0.7  # some elements are not there
    counts = rng.poisson(truth @ columns.T).astype(np.uint16)
    return columns, truth, counts


def rmse(found):
    return float(np.sqrt(np.mean((found[:, 0] - spectra()[1][: len(found), 0]) ** 2)))


def ours():
    columns, _, counts = spectra()
    linear = LinearFit(columns[LOW:HIGH], counts[:, LOW:HIGH].mean(axis=0), first=LOW)
    return linear.fit(counts)


def pymca(weight):
    """Time PyMca's fast fit, alone of this process: set OMP_NUM_THREADS=1 to compare cores."""
    pytest.importorskip("PyMca5", reason="PyMca is not installed")
    from PyMca5 import PyMcaDataDir
    from PyMca5.PyMcaIO import ConfigDict
    from PyMca5.PyMcaPhysics.xrf import FastXRFLinearFit

    config = ConfigDict.ConfigDict()
    config.read(os.path.join(PyMcaDataDir.PYMCA_DATA_DIR, "Steel.cfg"))
    config["peaks"] = {"Pt": ["L", "M"], **{name: ["K"] for name in KS}}
    config["fit"] |= {
        "energy": [ENERGY_KEV], "energyweight": [1.0], "energyflag": [1], "energyscatter": [1],
        "xmin": LOW, "xmax": HIGH - 1, "use_limit": 1, "linearfitflag": 1, "stripflag": 0,
        "fitfunction": 0, "continuum": 3, "scatterflag": 1, "sumflag": 0, "escapeflag": 0,
        "hypermetflag": 1, "fitweight": 0,
    }  # fmt: skip
    config["detector"] |= {
        "zero": 0.0, "gain": 0.01, "noise": 0.085, "fano": 0.114, "fixedzero": 1, "fixedgain": 1,
        "fixednoise": 1, "fixedfano": 1, "nthreads": 1,
    }  # fmt: skip
    fast = FastXRFLinearFit.FastXRFLinearFit()
    fast.setFitConfiguration(config)
    cube = spectra()[2].reshape(100, N // 100, CHANNELS)
    x = np.arange(CHANNELS, dtype=float)

    def fit():
        return fast.fitMultipleSpectra(x=x, y=cube, weight=weight, refit=1, concentrations=False)

    fit()
    return N / cpu_seconds(fit, 3 if weight == 0 else 2)


def bench_rate(benchmark):
    """22 columns, 1890 channels: at least 1.2 of PyMca unweighted and 2 of PyMca weighted."""
    counts = spectra()[2]
    found = ours()
    assert (found.coefficients >= 0).all()
    benchmark.pedantic(ours, rounds=3, warmup_rounds=1)
    per_cpu_s = N / cpu_seconds(ours)
    from scipy.optimize import nnls

    columns = spectra()[0][LOW:HIGH]

    def exact():
        return np.array([nnls(columns, row[LOW:HIGH].astype(float))[0] for row in counts[:200]])

    scipy_per_cpu_s = 200 / cpu_seconds(exact, 1)
    figures = {
        "spectra_per_cpu_s": per_cpu_s,
        "of_scipy_nnls": per_cpu_s / scipy_per_cpu_s,
        "rmse_pt_l": rmse(found.coefficients),
        "rmse_pt_l_unweighted": rmse(exact()),
    }
    pytest.importorskip("PyMca5", reason="PyMca is not installed")
    for weight in (0, 1):
        figures[f"of_pymca_w{weight}"] = per_cpu_s / pymca(weight)
    record(benchmark, **figures)
    assert figures["of_pymca_w0"] >= 1.2
    assert figures["of_pymca_w1"] >= 2.0
