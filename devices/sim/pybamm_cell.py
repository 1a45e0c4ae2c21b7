"""A lithium-ion cell of PyBaMM behind the simulated potentiostat, in place of Pt | Li.

PyBaMM (Sulzer et al., J. Open Res. Softw. 9, 14 (2021)) brings the equations and the parameters;
time is stepped here, because a potentiostat takes steps back, changes between current and voltage
at any moment and asks for a snapshot, which one system of equations with the current among its
unknowns does in one way. Needs the extra ``pybamm``.
"""

from __future__ import annotations

import importlib.util
import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from .cell import CellMode

EQUATIONS = ("SPM", "SPMe", "DFN")
_CURRENT = "Current function [A]"
_VOLTAGE = "Voltage [V]"
_LITHIUM = "Average positive particle stoichiometry"
_GAMMA = 1.0 - math.sqrt(0.5)
_FIRST_S, _LONGEST_S, _SHORTEST_S, _GROWTH = 0.02, 30.0, 1e-4, 1.6
_JUMP = 0.02
_MOST_TURNS = 12
_CLOSE = 1e-9
_BEYOND_V = 20.0


@dataclass(frozen=True)
class PybammParameters:
    """Which cell of PyBaMM, and how large.

    Parameters
    ----------
    parameter_set : str
        Of PyBaMM, such as "Chen2020" (NMC | graphite-SiOx) or "Marquis2019" (LCO | graphite).
    equations : "SPM", "SPMe" or "DFN"
        Single particles, those with electrolyte, or Doyle, Fuller and Newman.
    capacity_mah : float or None, mAh
        The cell's area is scaled until its nominal capacity is this; None keeps that of the set,
        which is often more than the simulated amplifier can drive.
    state_of_charge : float
        At the beginning, 0 to 1.

    Raises
    ------
    ModuleNotFoundError
        Without PyBaMM.
    ValueError
        When one of them lies outside its range.
    """

    parameter_set: str = "Chen2020"
    equations: str = "SPM"
    capacity_mah: float | None = 5.0
    state_of_charge: float = 1.0

    def __post_init__(self) -> None:
        if self.equations not in EQUATIONS:
            raise ValueError(
                f"equations must be one of {', '.join(EQUATIONS)}, not {self.equations!r}."
            )
        if self.capacity_mah is not None and not 0 < self.capacity_mah < math.inf:
            raise ValueError(
                f"capacity_mah must be positive and finite, not {self.capacity_mah!r} mAh."
            )
        if not 0 <= self.state_of_charge <= 1:
            raise ValueError(
                f"state_of_charge must lie between 0 and 1, not {self.state_of_charge!r}."
            )
        if importlib.util.find_spec("pybamm") is None:
            raise ModuleNotFoundError(
                'a cell with model = "pybamm" needs PyBaMM, which is not installed: '
                'pip install "flyback[pybamm]".'
            )


@dataclass(frozen=True)
class PybammState:
    """A snapshot of the cell, never changed.

    Attributes
    ----------
    unknowns : (n,) float64
        Differential, algebraic, and last the current in A, positive for discharge.
    charge_mah : float, mAh
        Passed in all.
    composition : float
        Lithium per site of the positive electrode, the working one.
    next_s : float, s
        How long the next step of the solution may be.
    """

    unknowns: np.ndarray
    charge_mah: float
    composition: float
    next_s: float


class PybammCell:
    """A cell of PyBaMM that can be driven as `devices.sim.cell.Cell` is.

    The differential-algebraic equations are stepped by the L-stable, stiffly accurate SDIRK of
    second order (Alexander, SIAM J. Numer. Anal. 14, 1006 (1977)), with short steps after each
    jump of what is asked for. What the model cannot do (an electrode that is empty or full) passes
    no charge, and the terminals show the voltage of a supply without load, so that the limits act.

    Parameters
    ----------
    parameters : PybammParameters

    Attributes
    ----------
    capacity_mah : float, mAh
        Nominal.
    swelling : float
        1: PyBaMM's sets say nothing of the volume here.
    """

    swelling = 1.0

    def __init__(self, parameters: PybammParameters | None = None) -> None:
        self.parameters = parameters or PybammParameters()
        casadi, exported, mass, nominal_ah = _exported(self.parameters)
        x, z, current = exported["x"], exported["z"], exported["inputs"]
        flow = casadi.vertcat(exported["rhs"], exported["algebraic"])
        voltage, lithium = exported["variables"][_VOLTAGE], exported["variables"][_LITHIUM]
        n, time = x.shape[0], exported["t"]
        unknowns = casadi.vertcat(x, z, current)
        here = [time, x, z, current]
        held = casadi.Function("held", here, [flow, voltage, lithium])
        w = casadi.MX.sym("w", unknowns.shape[0])
        base, step, asked = casadi.MX.sym("b", n), casadi.MX.sym("h"), casadi.MX.sym("s")
        flow_w, voltage_w, lithium_w = held(0.0, w[:n], w[n:-1], w[-1])
        moved = casadi.mtimes(casadi.sparsify(casadi.DM(mass)), w[:n] - base) - step * flow_w[:n]
        self._turn: dict[str, Any] = {}
        for mode, control in (("current", w[-1] - asked), ("voltage", voltage_w - asked)):
            left = casadi.vertcat(moved, flow_w[n:], control)
            correction = casadi.solve(casadi.jacobian(left, w), left, "csparse")
            self._turn[mode] = casadi.Function(mode, [w, base, step, asked], [w - correction])
        self._seen = casadi.Function("seen", [w], [voltage_w, lithium_w])
        self._slopes = casadi.Function(
            "slopes", [w], [casadi.jacobian(flow_w, w), casadi.jacobian(voltage_w, w)]
        )
        self._n, self._mass = n, mass
        self.capacity_mah = self.parameters.capacity_mah or nominal_ah * 1e3
        self._share = self.capacity_mah / (nominal_ah * 1e3)
        first = casadi.Function("first", [current], [exported["x0"], exported["z0"]])
        start = np.concatenate([each.full().ravel() for each in first(0.0)] + [np.zeros(1)])
        self.state = PybammState(start, 0.0, 0.0, _FIRST_S)
        # without current, the algebraic unknowns as the equations want them
        self.state = self._stepped(self.state, 1e-9, "current", 0.0) or self.state
        self.voltage_v, lithium = self._look(self.state.unknowns)
        self.state = PybammState(self.state.unknowns, 0.0, lithium, _FIRST_S)
        self.current_ma = 0.0

    def phases(self) -> list[tuple[str, float, float]]:
        """Return no phases: the equations know stoichiometries, not structures."""
        return []

    def advance(self, dt_s: float, mode: CellMode = "open", setpoint: float = 0.0) -> None:
        """Let time pass; `voltage_v` and `current_ma` are then those at its end.

        Parameters
        ----------
        dt_s : float, s
        mode : "open", "current" or "voltage"
        setpoint : float, mA or V
            Between the terminals; a positive current charges.
        """
        kind = "voltage" if mode == "voltage" else "current"
        asked = float(setpoint) if mode == "voltage" else 0.0
        if mode == "current":
            asked = -setpoint * 1e-3 / self._share
        state, left_s = self.state, dt_s
        part_s = _FIRST_S if self._jumps(kind, asked) else state.next_s
        while left_s > 1e-12:
            now_s = min(part_s, left_s)
            after = self._stepped(state, now_s, kind, asked)
            if after is None and now_s <= _SHORTEST_S:
                self._give_up(state, kind, asked)
                return
            if after is None:
                part_s = 0.25 * now_s
                continue
            left_s -= now_s
            part_s = min(max(part_s, _GROWTH * now_s if now_s == part_s else 0.0), _LONGEST_S)
            state = after
        self.voltage_v, lithium = self._look(state.unknowns)
        self.state = PybammState(state.unknowns, state.charge_mah, lithium, part_s)
        self.current_ma = -float(state.unknowns[-1]) * 1e3 * self._share

    def impedance_ohm(self, frequency_hz: float) -> complex:
        """Return the impedance at the present state, linearised; no double layer in these sets.

        Parameters
        ----------
        frequency_hz : float, Hz
        """
        flow, voltage = (np.array(each) for each in self._slopes(self.state.unknowns))
        system = -flow[:, :-1].astype(complex)
        system[: self._n, : self._n] += 2j * math.pi * frequency_hz * self._mass
        moved = np.linalg.solve(system, flow[:, -1])
        return complex(-(voltage[0, :-1] @ moved + voltage[0, -1]) / self._share)

    def _jumps(self, kind: str, asked: float) -> bool:
        """Whether what is asked for is far from what was so far."""
        if kind == "voltage":
            return abs(asked - self.voltage_v) > _JUMP
        most = self.capacity_mah * 1e-3 / self._share  # at 1C
        return abs(asked - float(self.state.unknowns[-1])) > 0.5 * _JUMP * most

    def _stepped(
        self, state: PybammState, dt_s: float, kind: str, asked: float
    ) -> PybammState | None:
        """Return the state after one step, or None where the equations have no solution."""
        n, turn = self._n, self._turn[kind]
        before = state.unknowns
        first = _newton(turn, before, before[:n], _GAMMA * dt_s, asked)
        if first is None:
            return None
        base = before[:n] + (1 - _GAMMA) / _GAMMA * (first[:n] - before[:n])
        second = _newton(turn, first, base, _GAMMA * dt_s, asked)
        if second is None:
            return None
        ampere = (1 - _GAMMA) * first[-1] + _GAMMA * second[-1]
        charge = state.charge_mah - float(ampere) * self._share * dt_s / 3.6
        return PybammState(second, charge, state.composition, state.next_s)

    def _give_up(self, state: PybammState, kind: str, asked: float) -> None:
        up = asked > self.voltage_v if kind == "voltage" else asked < 0
        self.state = PybammState(state.unknowns, state.charge_mah, state.composition, _FIRST_S)
        self.voltage_v = _BEYOND_V if up else -_BEYOND_V
        self.current_ma = 0.0

    def _look(self, unknowns: np.ndarray) -> tuple[float, float]:
        voltage, lithium = self._seen(unknowns)
        return float(voltage), float(lithium)


def _newton(
    turn: Any, start: np.ndarray, base: np.ndarray, step: float, asked: float
) -> np.ndarray | None:
    """Return the solution of a stage, or None."""
    w = start
    for _ in range(_MOST_TURNS):
        after = turn(w, base, step, asked).full().ravel()
        if not np.isfinite(after).all():
            return None
        moved = float(np.max(np.abs(after - w) / (1.0 + np.abs(after))))
        w = after
        if moved < _CLOSE:
            return w
    return None


def _exported(parameters: PybammParameters) -> tuple[Any, dict[str, Any], np.ndarray, float]:
    """Return casadi, PyBaMM's equations in it, their mass matrix and the nominal capacity in Ah.

    Raises
    ------
    ValueError
        For a parameter set that PyBaMM does not have.
    """
    os.environ.setdefault("PYBAMM_DISABLE_TELEMETRY", "true")
    import casadi  # pyright: ignore[reportMissingImports]
    import pybamm  # pyright: ignore[reportMissingImports]

    known = list(pybamm.parameter_sets)
    if parameters.parameter_set not in known:
        raise ValueError(
            f"PyBaMM has no parameter set {parameters.parameter_set!r}; it has {', '.join(known)}."
        )
    values = pybamm.ParameterValues(parameters.parameter_set)
    values[_CURRENT] = "[input]"
    model = getattr(pybamm.lithium_ion, parameters.equations)()
    simulation = pybamm.Simulation(model, parameter_values=values)
    simulation.build(initial_soc=parameters.state_of_charge)
    built: Any = simulation.built_model
    exported = built.export_casadi_objects([_VOLTAGE, _LITHIUM], input_parameter_order=[_CURRENT])
    n = exported["x"].shape[0]
    mass = built.mass_matrix.entries[:n, :n]
    mass = mass.toarray() if hasattr(mass, "toarray") else np.asarray(mass)
    return casadi, exported, mass, float(values["Nominal cell capacity [A.h]"])
