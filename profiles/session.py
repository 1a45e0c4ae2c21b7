"""A session: the RunEngine, the devices, the plans, the live analyses and the store, in one hand.

import flyback as fb
s = fb.open("sim_microscope")
uid, = s.RE(s.plans.raster([s.camera], s.scan_coils, fov_nm=4, step_nm=0.1))
s.join()                                   # raises what an analysis raised
s.live.ptychography.object_phase_
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bluesky.plan_stubs
import bluesky.plans
import bluesky.preprocessors
from bluesky import RunEngine
from bluesky.preprocessors import SupplementalData, inject_md_wrapper

from ..callbacks.live import Analysis, LiveCallback
from ..callbacks.offload import Offload
from ..callbacks.plots import LiveWindow, Pictures
from ..callbacks.progress import Progress
from ..callbacks.rules import Rules
from ..plans.preprocessors import column_into_start_wrapper
from ..plans.tuning import found_into_start_wrapper
from .archive import Archive
from .compose import CAMERA, in_process, load_plans, make_analysis, make_devices, parameters_of
from .metadata import PersistentMetadata
from .registry import unknown
from .rules import StandingRules, read_rules
from .schema import Profile, ProfileError, read_profile
from .steering import with_guides, with_rules
from .tuning import found_so_far, with_fits
from .turns import restore_turns, shorten_turns
from .warming import cameras, end_warming, warm_in_background
from .workers import WorkerProcess

LONGEST_END_S = 10.0

_NOTHING = SimpleNamespace()
_active: weakref.ReferenceType[Session] | None = None


class Session:
    """An open session. Make one with `open`.

    Parameters
    ----------
    profile : Profile
    archive : Archive
    progress : bool
        Draw a progress bar for each run.
    metadata : mapping, optional
        Goes into every start document of this session.
    devices : mapping of str to device, optional
        Beside those of the profile.

    Attributes
    ----------
    RE : bluesky.RunEngine
    sd : bluesky.preprocessors.SupplementalData
    bec : bluesky BestEffortCallback
    bp, bps, bpp : bluesky's plans, plan stubs and preprocessors
    devices : dict of str to ophyd device
    plans : namespace of the plans; plans and devices are attributes of the session as well
    live : namespace of the analyses; ``live.NAME.KEY_`` is the newest result
    pictures : Pictures
    rules : Rules
        Of the profile, and what has fired.
    """

    bp, bps, bpp = bluesky.plans, bluesky.plan_stubs, bluesky.preprocessors

    def __init__(
        self,
        profile: Profile,
        archive: Archive,
        *,
        progress: bool = True,
        metadata: Mapping[str, Any] | None = None,
        devices: Mapping[str, Any] | None = None,
    ) -> None:
        self.profile = profile
        self.rules = Rules(read_rules(profile))
        self.archive = archive
        self.devices = {**make_devices(profile), **(devices or {})}
        self._metadata = PersistentMetadata(archive.layout.metadata)
        self.plans = SimpleNamespace(**with_fits(load_plans(profile), archive, self._metadata))
        self.RE = RunEngine(self._metadata)  # type: ignore[arg-type]  any mutable mapping will do
        # innermost: what was found by tuning has precedence over what the column states
        self.RE.preprocessors.append(self._insert_found)
        self.sd = SupplementalData()
        self.RE.preprocessors.append(self.sd)
        extra = {"profile": profile.name, **profile.metadata, **(metadata or {})}
        for name, device in self.devices.items():
            if hasattr(device, "directory"):
                device.directory = archive.layout.frames
            if callable(getattr(device, "metadata", None)):
                self.RE.preprocessors.append(
                    lambda plan, d=device: column_into_start_wrapper(plan, d)
                )
            if name in profile.baseline:
                self.sd.baseline.append(device)
        self._extra = extra
        self.RE.preprocessors.append(self._inject_metadata)
        self._subscribe(progress)
        guided = with_guides(vars(self.plans), self.live)
        standing = StandingRules(self.rules, guided, self.devices)
        self.plans = SimpleNamespace(**with_rules(guided, standing))
        self._windows: list[LiveWindow] = []
        self._idle = threading.Event()
        self.RE.state_hook = self._state_changed  # type: ignore[assignment]  untyped upstream
        self._closed = False
        self.warming: threading.Thread | None = None
        shorten_turns()
        atexit.register(self.close)

    def _subscribe(self, progress: bool) -> None:
        """Subscribe in the order of the design: the journal before anything else."""
        self.RE.subscribe(self.archive.recorder)
        self.RE.subscribe(self.archive.writer)
        self.RE.subscribe(self.archive.checksums)
        if self.archive.bus is not None:
            self.RE.subscribe(self.archive.bus)
        rings = [d.ring for d in self.devices.values() if hasattr(d, "ring")]
        self.pictures = Pictures(self.archive.layout.pictures)
        self.offloads: dict[str, Offload] = {}
        self.workers: dict[str, WorkerProcess] = {}
        self.live = SimpleNamespace()
        for name, table in self.profile.analyses.items():
            analysis = self._analysis(name, table, rings)
            analysis.listeners.append(self.rules.listener(name))
            self.offloads[name] = Offload(name, analysis)
            setattr(self.live, name, analysis)
            self.RE.subscribe(self.offloads[name])
        if progress:
            self.RE.subscribe(Progress())
        self._bec: Any = None

    def _analysis(self, name: str, table: Mapping[str, Any], rings: list[Any]) -> Analysis:
        """Make an analysis, on a thread or, where its table says so, in a process."""
        if in_process(name, table):
            settings = parameters_of(table)
            process = WorkerProcess(name, settings, self.archive, rings, self.pictures)
            self.workers[name] = process
            return Analysis(name, process)
        analysis = make_analysis(name, table, self.archive.publisher, rings)
        analysis.watchers.append(self.pictures)
        return analysis

    def _insert_found(self, plan: Any) -> Any:
        return found_into_start_wrapper(plan, lambda: found_so_far(self._metadata))

    def _inject_metadata(self, plan: Any) -> Any:
        return inject_md_wrapper(plan, self._extra) if self._extra else plan

    def __getattr__(self, name: str) -> Any:
        found = {**vars(self.__dict__.get("plans", _NOTHING)), **self.__dict__.get("devices", {})}
        if name in found:
            return found[name]
        raise AttributeError(unknown("device or plan of the session", name, list(found)))

    @property
    def catalog(self) -> Any:
        """Raw runs: ``catalog[-1]``, ``catalog[scan_id]``, ``catalog["uid..."]``."""
        return self.archive.settled_catalog().raw

    @property
    def db(self) -> Any:
        """Databroker's `Broker` over the raw runs."""
        return self.archive.settled_catalog().broker()

    @property
    def bec(self) -> Any:
        """Bluesky's BestEffortCallback, subscribed when first asked for."""
        if self._bec is None:
            from bluesky.callbacks.best_effort import BestEffortCallback

            self._bec = BestEffortCallback()
            if not _has_display():
                self._bec.disable_plots()
            self.RE.subscribe(self._bec)
        return self._bec

    def join(self, timeout_s: float | None = None, *, check: bool = True) -> list[LiveCallback]:
        """Wait for the analyses and the store.

        Parameters
        ----------
        timeout_s : float, optional
            Longest wait for each analysis.
        check : bool
            Raise what an analysis raised. If False, look at the ``error`` of what is returned.

        Returns
        -------
        list of LiveCallback
            What has finished or failed since the last call.

        Raises
        ------
        Exception
            That of the analysis, or an ExceptionGroup of several.
        TimeoutError
            If an analysis is not done by `timeout_s`.
        """
        done: list[LiveCallback] = []
        errors: list[BaseException] = []
        for name, offload in self.offloads.items():
            offload.join(timeout_s)
            done += getattr(self.live, name).take()
            errors += offload.errors
            offload.errors.clear()
        self.archive.wait(timeout_s)
        errors += [callback.error for callback in done if callback.error is not None]
        if check and len(errors) == 1:
            raise errors[0]
        if check and errors:
            raise BaseExceptionGroup("several analyses failed", errors)
        return [callback for callback in done if callback.publisher is not None]

    def analyses(self, run: Any) -> dict[str, Any]:
        """Return the newest derived run of each analysis of a run (a run, or its uid)."""
        return self.archive.analyses(uid_of(run))

    def show(self, *names: str) -> list[LiveWindow]:
        """Open a window for each analysis, refreshed while data arrive; needs a display."""
        if not _has_display():
            raise ProfileError(
                "there is no display: pictures are saved in " + str(self.pictures.directory)
            )
        opened = [LiveWindow(getattr(self.live, n)) for n in names or self.offloads]
        self._windows += opened
        return opened

    def namespace(self) -> dict[str, Any]:
        """Return the names that an IPython session gets."""
        return {
            **vars(self.plans),
            **self.devices,
            "session": self,
            "RE": self.RE,
            "catalog": self.catalog,
            "db": self.db,
            "sd": self.sd,
            "bec": self.bec,
            "bp": self.bp,
            "bps": self.bps,
            "bpp": self.bpp,
            "live": self.live,
            "analyses": self.analyses,
        }

    def _state_changed(self, new: str, old: str) -> None:
        if new == "idle":
            self._idle.set()

    def _end_run(self) -> None:
        """End a run that is still going on, so that it gets its stop document."""
        if self.RE.state == "idle":
            return
        with suppress(Exception):  # it may end by itself between the question and the request
            self.RE.abort("the session was closed")
        deadline = time.monotonic() + LONGEST_END_S
        while self.RE.state != "idle" and time.monotonic() < deadline:
            self._idle.wait(0.05)

    def warm(self) -> None:
        """Compile in the background, and in the processes, what the analyses need."""
        here = {n: t for n, t in self.profile.analyses.items() if n not in self.workers}
        self.warming = warm_in_background(here, self.devices.values())
        for camera in cameras(self.devices.values()):
            for name, worker in self.workers.items():
                if self.profile.analyses[name].get(CAMERA, camera.name) == camera.name:
                    worker.rehearse(camera)

    def safe(self) -> None:
        """Blank the beam and stop whatever moves."""
        for device in self.devices.values():
            stop = getattr(device, "stop", None)
            if callable(stop):
                stop()

    def close(self) -> None:
        """Leave the beam blanked, work off the analyses and the store, and let go."""
        global _active
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        self.safe()
        self._end_run()
        for offload in self.offloads.values():
            offload.close()
        for worker in self.workers.values():
            worker.close()
        for device in self.devices.values():
            if callable(getattr(device, "end_process", None)):
                device.end_process()
        end_warming(self.warming)
        restore_turns()
        self.pictures.close()
        self.archive.close()
        if _active is not None and _active() is self:
            _active = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def open(
    profile: str | Path | Profile,
    directory: str | os.PathLike[str] | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    progress: bool = True,
    warm: bool = True,
    devices: Mapping[str, Any] | None = None,
    **metadata: Any,
) -> Session:
    """Open a session.

    Parameters
    ----------
    profile : str, Path or Profile
        Name of an installed profile, or a ``.toml`` file.
    directory : path, optional
        Of the archive; else FLYBACK_DIRECTORY, else ``flyback-data`` in the home folder.
    settings : mapping, optional
        ``{"ptychography.rpie_alpha": 0.1}``: settings of analyses changed for this session.
    progress : bool
        Draw a progress bar for each run.
    warm : bool
        Compile what the analyses need in the background, rather than under the first frame.
    devices : mapping of str to device, optional
        Beside those of the profile.
    **metadata
        For every start document of this session, such as ``sample="DyScO3 lamella"``.

    Raises
    ------
    ProfileError, PluginError, SettingError
        For what the profile says wrong; before anything is opened.
    ArchiveError, CatalogError
        If the store cannot be opened.
    """
    global _active
    chosen = profile if isinstance(profile, Profile) else read_profile(profile)
    if settings:
        chosen = chosen.with_settings(settings)
    archive = Archive(directory, **chosen.of_archive)
    try:
        session = Session(chosen, archive, progress=progress, metadata=metadata, devices=devices)
    except BaseException:
        archive.close()
        raise
    if warm:
        session.warm()
    _active = weakref.ref(session)
    return session


def active() -> Session | None:
    """Return the session that was opened last and is still open."""
    return _active() if _active is not None else None


def uid_of(run: Any) -> str:
    """Return the uid of a run given as a uid, a start document or a catalogue entry."""
    if isinstance(run, str):
        return run
    metadata = getattr(run, "metadata", run)
    start = metadata.get("start", metadata)
    return str(start["uid"])


def _has_display() -> bool:
    """Whether matplotlib can open windows here."""
    import matplotlib as mpl
    from matplotlib.backends.registry import BackendFilter, backend_registry

    interactive = {n.lower() for n in backend_registry.list_builtin(BackendFilter.INTERACTIVE)}
    return str(mpl.rcParams["backend"]).lower() in interactive
