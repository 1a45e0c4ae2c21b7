"""A simulated Pt | Li cell: what is true inside, and the voltage and current that come of it.

Reactions run side by side on one electrode and share its potential: two-phase reactions that each
run one way, the solid solution in LiPt, which runs both ways, and the interphase, which only
takes charge. Their rates follow Butler and Volmer (one branch where a reaction is one-way); in
front lie an ohmic resistance and two relaxations that stand for diffusion. The charge of each step
is solved implicitly for the potential, so that charge, platinum and lithium are conserved exactly
and any step is stable.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from ...models.electrochemistry import lithium_capacity_mah, platinum_mol
from ...models.platinum_lithium import BOLTZMANN_V, Potentials, volumes

CellMode = Literal["open", "current", "voltage"]
_LOWEST_V, _HIGHEST_V = -1e3, 1e3
_OXIDATION_V = 4.3


@dataclass(frozen=True)
class CellParameters:
    """What the simulated cell is made of.

    Parameters
    ----------
    thickness_nm : float, nm
        Of the platinum film.
    area_cm2 : float, square centimetres
    rate_s : float, 1/s
        Of each reaction at its potential, for each platinum atom that can take part.
    transfer : float
        Coefficient of Butler and Volmer.
    stabilised : float
        Of the LiPt that would give back its last lithium, this share stays as stable LiPt.
    ohmic_ohm_cm2, diffusion_ohm_cm2, diffusion_s
        Resistance, and resistances and times of the two relaxations.
    double_layer_f_cm2 : float, F/cm2
    interphase_rate_s : float, 1/s
        Of the interphase's charge, relative to the capacity to Li2Pt; times exp(6 (0.8 - V)) - 1
        below 0.8 V.
    interphase_share : float
        Charge relative to the capacity at which the interphase slows to a quarter.
    """

    thickness_nm: float = 100.0
    area_cm2: float = 1.0
    rate_s: float = 2e-4
    transfer: float = 0.5
    stabilised: float = 0.5
    ohmic_ohm_cm2: float = 60.0
    diffusion_ohm_cm2: tuple[float, float] = (150.0, 400.0)
    diffusion_s: tuple[float, float] = (15.0, 300.0)
    double_layer_f_cm2: float = 40e-6
    interphase_rate_s: float = 2e-6
    interphase_share: float = 0.03
    potentials: Potentials = field(default_factory=Potentials)


@dataclass
class CellState:
    """What is true of the electrode.

    Attributes
    ----------
    li2pt, lipt, stable : float
        Shares of the platinum: Li2Pt, all LiPt, and the LiPt that is stable. The rest is metal.
    lithium : float
        y in LiyPt.
    interface_v : float, V
        Across the interface, without what lies in front.
    behind_v : two floats, V
        The two relaxations.
    charge_mah, interphase_mah : float, mAh
        Passed in all, and kept by the interphase (negative: it is reduced).
    lost_mah : float, mAh
        Passed by plating below 0 V and by oxidation of the electrolyte above 4.3 V.
    """

    li2pt: float = 0.0
    lipt: float = 0.0
    stable: float = 0.0
    lithium: float = 1.0
    interface_v: float = 2.8
    behind_v: tuple[float, float] = (0.0, 0.0)
    charge_mah: float = 0.0
    interphase_mah: float = 0.0
    lost_mah: float = 0.0

    @property
    def composition(self) -> float:
        """Return x in LixPt."""
        return self.lithium * self.lipt + 2.0 * self.li2pt


class Cell:
    """A Pt | Li cell that can be driven.

    Parameters
    ----------
    parameters : CellParameters
    """

    def __init__(self, parameters: CellParameters | None = None) -> None:
        self.parameters = parameters or CellParameters()
        self.state = CellState()
        n_pt = platinum_mol(self.parameters.thickness_nm, self.parameters.area_cm2)
        self.capacity_mah = lithium_capacity_mah(n_pt)
        self._coulomb = self.capacity_mah * 1.8  # of one Li per Pt: half the capacity, in C
        area = self.parameters.area_cm2
        self._ohm = self.parameters.ohmic_ohm_cm2 / area
        self._behind_ohm = tuple(r / area for r in self.parameters.diffusion_ohm_cm2)
        self._farad = self.parameters.double_layer_f_cm2 * area
        # the solid solution's potential over its composition, rising, to be read backwards
        u = self.parameters.potentials
        grid = [0.5 * (1 + math.cos(math.pi * k / 4000)) for k in range(1, 4000)]
        self._lithium = [u.least + (u.most - u.least) * g for g in grid]
        self._lithium_v = [u.solid_solution_v(y) for y in self._lithium]
        self.voltage_v = self.state.interface_v
        self.current_ma = 0.0

    def phases(self) -> list[tuple[str, float, float]]:
        """Return (phase name, volume fraction, cell scale) of Pt, LiPt and Li2Pt."""
        return self._seen()[0]

    @property
    def swelling(self) -> float:
        """Volume of the electrode, relative to the metal."""
        return self._seen()[1]

    def _seen(self) -> tuple[list[tuple[str, float, float]], float]:
        s = self.state
        shares = {"Pt": 1.0 - s.lipt - s.li2pt, "LiPt": s.lipt, "Li2Pt": s.li2pt}
        return volumes(shares, s.lithium)

    def advance(self, dt_s: float, mode: CellMode = "open", setpoint: float = 0.0) -> None:
        """Let time pass; `voltage_v` and `current_ma` are then those at its end.

        Parameters
        ----------
        dt_s : float, s
            One step of the solution; a few seconds at 1C are accurate to a millivolt.
        mode : "open", "current" or "voltage"
        setpoint : float, mA or V
            Between the terminals.
        """
        p, s = self.parameters, self.state
        decay = [math.exp(-dt_s / tau) for tau in p.diffusion_s]
        kept = sum(v * d for v, d in zip(s.behind_v, decay, strict=True))
        stiff = self._ohm + sum(r * (1 - d) for r, d in zip(self._behind_ohm, decay, strict=True))

        def current_a(interface_v: float) -> float:
            if mode == "voltage":
                return (setpoint - interface_v - kept) / stiff
            return setpoint * 1e-3 if mode == "current" else 0.0

        def excess(interface_v: float) -> float:
            _, used = self._react(interface_v, dt_s)
            stored = self._farad * (interface_v - s.interface_v)
            return stored + used - current_a(interface_v) * dt_s

        interface_v = _root(excess, s.interface_v)
        after, _ = self._react(interface_v, dt_s)
        # what the solution left over, far below a femtocoulomb, is put on the double layer
        ampere = current_a(interface_v)
        after.interface_v = interface_v
        after.behind_v = (
            s.behind_v[0] * decay[0] + self._behind_ohm[0] * (1 - decay[0]) * ampere,
            s.behind_v[1] * decay[1] + self._behind_ohm[1] * (1 - decay[1]) * ampere,
        )
        after.charge_mah = s.charge_mah + ampere * dt_s / 3.6
        self.state = after
        self.voltage_v = interface_v + ampere * self._ohm + sum(after.behind_v)
        self.current_ma = ampere * 1e3

    def _react(self, v: float, dt_s: float) -> tuple[CellState, float]:
        """Return the state after a step at a potential, and the charge that it took, C."""
        p, s, u = self.parameters, self.state, self.parameters.potentials
        beta = p.transfer / BOLTZMANN_V

        def share(overpotential: float) -> float:
            """Return what reacts of what can, in this step, where the reaction runs at all."""
            if overpotential <= 0:
                return 0.0
            return -math.expm1(-dt_s * p.rate_s * math.expm1(min(beta * overpotential, 60.0)))

        unstable = max(s.lipt - s.stable, 0.0)
        lithium = s.lithium
        if s.lipt < 1e-9:
            lithium = self._at_equilibrium(v)  # what is born now is born at equilibrium
        nucleating = u.nucleation * math.exp(-s.li2pt / 0.02)
        metal = max(1.0 - s.lipt - s.li2pt, 0.0)
        taken_up = metal * share(u.take_up - nucleating - v)
        filled = unstable * share(u.from_lipt - v)
        given = s.li2pt * share(v - u.give_back)
        emptied = unstable * share(v - u.empty)
        stays = p.stabilised * emptied
        lipt = s.lipt + given - filled - (emptied - stays)
        balance = self._at_equilibrium(v) - lithium
        rate = (
            2
            * p.rate_s
            * math.sinh(max(-60.0, min(60.0, beta * (u.solid_solution_v(lithium) - v))))
        )
        if abs(balance) > 1e-12:
            lithium += balance * -math.expm1(-dt_s * abs(rate / balance))
        growth = p.interphase_rate_s * math.expm1(max(0.0, min(6.0 * (0.8 - v), 50.0)))
        slowed = (1.0 - s.interphase_mah / (p.interphase_share * self.capacity_mah)) ** 2
        interphase_mah = -growth * dt_s * self.capacity_mah / slowed
        beyond = math.expm1(min(beta * max(v - _OXIDATION_V, 0.0), 60.0))
        beyond -= math.expm1(min(beta * max(-v, 0.0), 60.0))
        lost_mah = p.rate_s * dt_s * beyond * self.capacity_mah
        after = CellState(
            li2pt=s.li2pt + taken_up + filled - given,
            lipt=lipt,
            stable=s.stable + stays,
            lithium=lithium,
            interphase_mah=s.interphase_mah + interphase_mah,
            lost_mah=s.lost_mah + lost_mah,
        )
        used = -self._coulomb * (after.composition - s.composition)
        return after, used + (interphase_mah + lost_mah) * 3.6

    def _at_equilibrium(self, v: float) -> float:
        """Return y in LiyPt at equilibrium with a potential."""
        volts, lithium = self._lithium_v, self._lithium
        if v <= volts[0] or v >= volts[-1]:
            return lithium[0] if v <= volts[0] else lithium[-1]
        above = bisect.bisect_right(volts, v)
        part = (v - volts[above - 1]) / (volts[above] - volts[above - 1])
        return lithium[above - 1] + part * (lithium[above] - lithium[above - 1])

    def impedance_ohm(self, frequency_hz: float) -> complex:
        """Return the impedance at the present state, linearised.

        Parameters
        ----------
        frequency_hz : float, Hz
        """
        omega = 2j * math.pi * frequency_hz
        v, dt, dv = self.state.interface_v, 1e-3, 1e-4
        slope = (self._react(v + dv, dt)[1] - self._react(v - dv, dt)[1]) / (2 * dv * dt)
        interface = 1.0 / (omega * self._farad + max(slope, 1e-12))
        times = self.parameters.diffusion_s
        behind = sum(
            r / (1.0 + omega * tau) for r, tau in zip(self._behind_ohm, times, strict=True)
        )
        return self._ohm + interface + behind


def _root(function: Callable[[float], float], near: float) -> float:
    """Return where a rising function crosses zero, by bracketed secants (Illinois)."""
    low = high = near
    reach = 1e-3
    f_low = f_high = function(near)
    while f_low > 0 and low > _LOWEST_V:
        high, f_high = low, f_low
        low, reach = low - reach, 2 * reach
        f_low = function(low)
    while f_high < 0 and high < _HIGHEST_V:
        low, f_low = high, f_high
        high, reach = high + reach, 2 * reach
        f_high = function(high)
    kept = 0
    for turn in range(200):
        if high - low < 1e-10 or f_low == 0 or f_high == 0:
            break
        slow = turn % 4 == 3
        guess = 0.5 * (low + high) if slow else high - f_high * (high - low) / (f_high - f_low)
        f_guess = function(guess)
        if f_guess > 0:
            high, f_high = guess, f_guess
            f_low = 0.5 * f_low if kept > 0 else f_low
            kept = 1
        else:
            low, f_low = guess, f_guess
            f_high = 0.5 * f_high if kept < 0 else f_high
            kept = -1
    return low if abs(f_low) < abs(f_high) else high
