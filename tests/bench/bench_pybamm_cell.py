"""Steps of a cell of PyBaMM by our own stepping, beside PyBaMM's in the same run.

``python -m pytest tests/bench/bench_pybamm_cell.py --benchmark-only`` with the extra `pybamm`.
"""

import pytest

from flyback.devices.sim.pybamm_cell import PybammCell, PybammParameters

pytest.importorskip("pybamm")
pytestmark = [
    pytest.mark.benchmark(group="a step of 5 s at 1C"),
    pytest.mark.filterwarnings("ignore"),
]


@pytest.mark.parametrize("equations", ["SPM", "SPMe", "DFN"])
def bench_ours(benchmark, equations):
    cell = PybammCell(PybammParameters(equations=equations))
    cell.advance(60.0, "current", -5.0)
    benchmark.pedantic(lambda: cell.advance(5.0, "current", -5.0), rounds=50)


@pytest.mark.parametrize("equations", ["SPM", "SPMe", "DFN"])
def bench_pybamm(benchmark, equations):
    import pybamm  # pyright: ignore[reportMissingImports]

    values = pybamm.ParameterValues("Chen2020")
    values["Current function [A]"] = 5.0
    simulation = pybamm.Simulation(
        getattr(pybamm.lithium_ion, equations)(),
        parameter_values=values,
        solver=pybamm.IDAKLUSolver(),
    )
    simulation.step(60.0, save=False)
    benchmark.pedantic(lambda: simulation.step(5.0, save=False), rounds=50)
