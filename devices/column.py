"""The settings of the microscope's column that an analysis must know."""

from __future__ import annotations

from typing import Any

from ophyd import Component as Cpt
from ophyd import Device

from .signals import UnitSignal


class Column(Device):
    """Illumination and camera settings, as signals and as metadata of a run.

    Parameters
    ----------
    name : str
    radiation : "electron" or "xray"
    energy_kev : float, keV
    semi_convergence_angle_mrad : float, mrad
    defocus_nm : float, nm
        Positive is underfocus.
    angular_sampling_mrad : float, mrad
        Angle of one detector pixel.
    scan_rotation_deg : float, deg
    beam_current_pa : float, pA
    """

    radiation = Cpt(UnitSignal, value="electron", kind="normal")
    energy_kev = Cpt(UnitSignal, value=300.0, units="keV", limits=(0.01, 1e4), kind="normal")
    semi_convergence_angle_mrad = Cpt(
        UnitSignal, value=20.0, units="mrad", limits=(0.0, 200.0), kind="normal"
    )
    defocus_nm = Cpt(UnitSignal, value=0.0, units="nm", limits=(-1e5, 1e5), kind="normal")
    angular_sampling_mrad = Cpt(
        UnitSignal, value=0.7, units="mrad", limits=(1e-6, 100.0), kind="normal"
    )
    scan_rotation_deg = Cpt(
        UnitSignal, value=0.0, units="deg", limits=(-360.0, 360.0), kind="normal"
    )
    beam_current_pa = Cpt(UnitSignal, value=0.0, units="pA", limits=(0.0, 1e6), kind="normal")

    def __init__(
        self,
        prefix: str = "",
        *,
        name: str,
        radiation: str = "electron",
        energy_kev: float = 300.0,
        semi_convergence_angle_mrad: float = 20.0,
        defocus_nm: float = 0.0,
        angular_sampling_mrad: float = 0.7,
        scan_rotation_deg: float = 0.0,
        beam_current_pa: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(prefix, name=name, **kwargs)
        if radiation not in ("electron", "xray"):
            raise ValueError(f"radiation is 'electron' or 'xray', not {radiation!r}.")
        self.radiation.put(radiation)
        self.energy_kev.put(energy_kev)
        self.semi_convergence_angle_mrad.put(semi_convergence_angle_mrad)
        self.defocus_nm.put(defocus_nm)
        self.angular_sampling_mrad.put(angular_sampling_mrad)
        self.scan_rotation_deg.put(scan_rotation_deg)
        self.beam_current_pa.put(beam_current_pa)

    def metadata(self) -> dict[str, Any]:
        """Return the settings under the flat keys of a start document.

        A current of zero is taken as not measured and left out.
        """
        out = {name: getattr(self, name).get() for name in self.component_names}
        if not out["beam_current_pa"] > 0:
            del out["beam_current_pa"]
        return out
