"""Pictures of live results, with a scale bar and units, on a screen or in PNG files.

Drawing here uses figures without pyplot, so that any thread may draw to a file; a window, where
there is a display, is refreshed by its own timer in the thread of the user interface.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..models.base import Quantity
from .live import LiveCallback

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PREFERRED = ("object_phase", "bf", "adf", "idpc", "dose_e_per_a2")
LARGEST = 6
MAPS = {"object_phase": "magma", "idpc": "magma", "dose_e_per_a2": "viridis"}
TITLES = {
    "object_phase": "phase",
    "bf": "bright field",
    "adf": "annular dark field",
    "idpc": "iDPC",
    "dose_e_per_a2": "dose",
}


def images(result: Mapping[str, Quantity]) -> dict[str, Quantity]:
    """Return the results that can be drawn as pictures, the preferred first."""
    drawable = {
        key: q
        for key, q in result.items()
        if q.dims == ("y", "x") and not np.iscomplexobj(q.value) and min(np.shape(q.value)) > 1
    }
    order = [k for k in PREFERRED if k in drawable]
    return {k: drawable[k] for k in [*order, *sorted(set(drawable) - set(order))][:LARGEST]}


def pixel_size_nm(key: str, result: Mapping[str, Quantity]) -> float | None:
    """Return the width of an image's pixel, where the analysis states one."""
    name = "object_pixel_m" if key.startswith("object") else "image_pixel_m"
    if name not in result:
        return None
    size = np.atleast_1d(np.asarray(result[name].value, float))[-1]
    return float(size * 1e9) if np.isfinite(size) and size > 0 else None


def draw_image(axes: Axes, key: str, q: Quantity, pixel_nm: float | None) -> None:
    """Draw one image with its unit and a scale bar."""
    value = np.asarray(q.value, float)
    finite = value[np.isfinite(value)]
    low, high = np.percentile(finite, [1, 99]) if finite.size else (0.0, 1.0)
    image = axes.imshow(
        value,
        cmap=MAPS.get(key, "gray"),
        vmin=low,
        vmax=high if high > low else low + 1,
        interpolation="nearest",
    )
    axes.set_title(TITLES.get(key, key), fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor("0.85")  # where the beam has not been
    bar = axes.figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03)
    bar.ax.tick_params(labelsize=7)
    bar.set_label(q.units, fontsize=8)
    if pixel_nm:
        _scale_bar(axes, value.shape, pixel_nm)
    else:
        axes.set_xlabel("pixel size unknown", fontsize=7)


def _scale_bar(axes: Axes, shape: tuple[int, ...], pixel_nm: float) -> None:
    """Draw a bar of a round length, about a quarter of the image wide."""
    target = shape[1] * pixel_nm / 4
    decade = 10.0 ** np.floor(np.log10(target))
    length = decade * max(m for m in (1, 2, 5) if m * decade <= target or m == 1)
    pixels = length / pixel_nm
    x, y = shape[1] * 0.05, shape[0] * 0.94
    style = {"solid_capstyle": "butt"}
    axes.plot([x, x + pixels], [y, y], color="black", lw=5, **style)
    axes.plot([x, x + pixels], [y, y], color="white", lw=3, **style)
    text = f"{length:g} nm" if length >= 1 else f"{length * 10:g} Å"
    axes.text(
        x + pixels / 2, y - shape[0] * 0.02, text, color="white", ha="center", va="bottom", fontsize=7
    ).set_path_effects(_outline())
    axes.set_xlim(-0.5, shape[1] - 0.5)
    axes.set_ylim(shape[0] - 0.5, -0.5)


def _outline() -> list[Any]:
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2, foreground="black")]


def draw(figure: Figure, result: Mapping[str, Quantity], title: str) -> bool:
    """Draw the images of a result side by side; return whether there were any."""
    found = images(result)
    figure.clear()
    if not found:
        return False
    for axes, (key, q) in zip(
        np.atleast_1d(figure.subplots(1, len(found))), found.items(), strict=True
    ):
        draw_image(axes, key, q, pixel_size_nm(key, result))
    figure.suptitle(title, fontsize=9)
    return True


def save_picture(path: Path, result: Mapping[str, Quantity], title: str) -> Path | None:
    """Draw the images of a result to a PNG file; return its path, or None without images."""
    from matplotlib.figure import Figure

    count = len(images(result))
    if not count:
        return None
    figure = Figure(figsize=(0.4 + 3.2 * count, 3.2), dpi=120, layout="constrained")
    draw(figure, result, title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


class Pictures:
    """Watch live analyses: save their pictures as they grow, and at the end.

    Parameters
    ----------
    directory : Path
        Where the PNG files go.
    period_s : float
        Least time between two pictures of one analysis while it runs; a final one always.

    Attributes
    ----------
    saved : list of Path
        Final pictures, in order.
    """

    def __init__(self, directory: Path, *, period_s: float = 2.0) -> None:
        self.directory = Path(directory)
        self.period_s = period_s
        self.saved: list[Path] = []
        self._last: dict[str, float] = {}
        self._lock = threading.Lock()

    def __call__(self, callback: LiveCallback) -> None:
        """Draw, if it is time; called after each batch on the analysis' thread."""
        publisher = callback.publisher
        if publisher is None:
            return
        now = time.monotonic()
        if not callback.finished and now - self._last.get(publisher.uid, now) < self.period_s:
            self._last.setdefault(publisher.uid, now)
            return
        self._last[publisher.uid] = now
        analysis = publisher.start["analysis"]
        scan = callback.start.get("scan_id", callback.start["uid"][:8])
        plan = callback.start.get("plan_name", "run")
        title = f"{plan} {scan}: {analysis}, {callback.frames} frames"
        name = f"{callback.start['uid'][:8]}-{analysis}.png"
        if not callback.finished:
            name = f"live-{analysis}.png"
        with self._lock:  # matplotlib's text layout is not safe for two threads at once
            path = save_picture(self.directory / name, callback.result_, title)
            if callback.finished and path is not None:
                self.saved.append(path)


class LiveWindow:
    """A window that shows the newest result of an analysis and refreshes itself.

    Parameters
    ----------
    analysis : object with ``current`` (a `LiveCallback` or None) and ``name``
    period_s : float
        Time between two refreshes.
    """

    def __init__(self, analysis: Any, *, period_s: float = 0.5) -> None:
        import matplotlib.pyplot as plt

        self._analysis = analysis
        self._drawn: tuple[Any, int, bool] | None = None
        self.figure = plt.figure(num=f"flyback: {analysis.name}", layout="constrained")
        self._timer = self.figure.canvas.new_timer(interval=int(period_s * 1e3))
        self._timer.add_callback(self.refresh)
        self._timer.start()
        self.figure.canvas.mpl_connect("close_event", lambda _: self._timer.stop())

    def refresh(self) -> None:
        """Draw again if there is something new. Runs in the thread of the user interface."""
        current = self._analysis.current
        if current is None:
            return
        state = (current, current.frames, current.finished)
        if state == self._drawn:
            return
        self._drawn = state
        title = f"{current.start.get('plan_name', 'run')}: {current.frames} frames"
        draw(self.figure, current.result_, title)
        self.figure.canvas.draw_idle()
