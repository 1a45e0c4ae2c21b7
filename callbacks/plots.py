"""Pictures of live results, with a scale bar and units, on a screen or in PNG files.

Drawing here uses figures without pyplot, so that any thread may draw to a file; a window, where
there is a display, is refreshed by its own timer in the thread of the user interface.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..models.base import Quantity
from .live import LiveCallback
from .series_plots import draw_series, series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

logger = logging.getLogger("flyback.callbacks")

Box = tuple[float, float, float, float]
PREFERRED = ("domain_image", "object_phase", "bf", "adf", "idpc", "dose_e_per_a2")
LARGEST = 6
LARGEST_SHARE = 0.05  # of an analysis' time that may go into pictures while it runs
MAPS = {"object_phase": "magma", "idpc": "magma", "dose_e_per_a2": "viridis"}
TITLES = {
    "object_phase": "phase",
    "bf": "bright field",
    "adf": "annular dark field",
    "idpc": "iDPC",
    "dose_e_per_a2": "dose",
    "domain_image": "domains",
    "domain_probability_image": "probability",
    "wall_map": "walls",
}
RANGES = {"domain_probability_image": (0.0, 1.0), "wall_map": (0.0, 1.0)}
UNKNOWN_COLOR = "0.55"


def images(result: Mapping[str, Quantity]) -> dict[str, Quantity]:
    """Return the results that can be drawn as pictures, the preferred first."""
    drawable = {
        key: q
        for key, q in result.items()
        if q.dims == ("y", "x") and not np.iscomplexobj(q.value) and min(np.shape(q.value)) > 1
    }
    order = [k for k in PREFERRED if k in drawable]
    return {k: drawable[k] for k in [*order, *sorted(set(drawable) - set(order))][:LARGEST]}


@dataclass(frozen=True)
class Placement:
    """Where an image lies: its pixel and its origin, (y, x), in `unit`."""

    pixel: tuple[float, float]
    origin: tuple[float, float]
    unit: str

    def box(self, shape: tuple[int, ...]) -> Box:
        """Return the (x0, x1, y1, y0) edges of an image of this shape."""
        (dy, dx), (y, x) = self.pixel, self.origin
        return x - dx / 2, x + (shape[1] - 0.5) * dx, y + (shape[0] - 0.5) * dy, y - dy / 2


def placement(key: str, result: Mapping[str, Quantity]) -> Placement:
    """Return where an image lies, in nm where the analysis states its pixel, else in pixels."""
    kind = "object" if key.startswith("object") else "image"
    for units, scale, unit in (("m", 1e9, "nm"), ("px", 1.0, "px")):
        pixel = _pair(result, f"{kind}_pixel_{units}", scale)
        if pixel is not None:
            origin = _pair(result, f"{kind}_origin_{units}", scale) or (0.0, 0.0)
            return Placement(pixel, origin, unit)
    return Placement((1.0, 1.0), _pair(result, f"{kind}_origin_px", 1.0) or (0.0, 0.0), "px")


def _pair(result: Mapping[str, Quantity], name: str, scale: float) -> tuple[float, float] | None:
    if name not in result:
        return None
    y, x = np.broadcast_to(np.asarray(result[name].value, float), (2,)) * scale
    return (float(y), float(x)) if np.isfinite(y) and np.isfinite(x) else None


def scanned_box(result: Mapping[str, Quantity], place: Placement) -> Box | None:
    """Return the (x0, x1, y1, y0) edges of where the beam has been, where that is known."""
    units, scale = ("m", 1e9) if place.unit == "nm" else ("px", 1.0)
    if f"positions_{units}" not in result:
        return None
    positions = np.asarray(result[f"positions_{units}"].value, float) * scale
    positions = positions[np.isfinite(positions).all(axis=1)]
    if len(positions) < 2:
        return None
    (y0, x0), (y1, x1) = positions.min(axis=0), positions.max(axis=0)
    if x1 - x0 < 4 * place.pixel[1] or y1 - y0 < 4 * place.pixel[0]:
        return None
    return float(x0), float(x1), float(y1), float(y0)


def draw_image(
    axes: Axes, key: str, result: Mapping[str, Quantity], view: Box | None = None
) -> None:
    """Draw one image of a result with its unit and a scale bar.

    Parameters
    ----------
    axes : matplotlib Axes
    key : str
    result : mapping of str to Quantity
    view : (x0, x1, y1, y0), optional
        What to show; by default where the beam has been, else the whole image.
    """
    quantity = result[key]
    value = np.asarray(quantity.value, float)
    place = placement(key, result)
    whole = place.box(value.shape)
    seen = scanned_box(result, place) or whole
    view = view or seen
    if key == "domain_image":
        _draw_domains(axes, value, result, place)
        _frame_picture(axes, key, view, place)
        return
    inside = value[_rows(seen[3], seen[2], 0, place), _rows(seen[0], seen[1], 1, place)]
    finite = inside[np.isfinite(inside)]
    low, high = np.percentile(finite, [1, 99]) if finite.size else (0.0, 1.0)
    low, high = RANGES.get(key, (low, high))
    image = axes.imshow(
        value,
        cmap=MAPS.get(key, "gray"),
        vmin=low,
        vmax=high if high > low else low + 1,
        interpolation="nearest",
        extent=whole,
    )
    bar = axes.figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03)
    bar.ax.tick_params(labelsize=7)
    bar.set_label(quantity.units, fontsize=8)
    _frame_picture(axes, key, view, place)


def _frame_picture(axes: Axes, key: str, view: Box, place: Placement) -> None:
    """Give a picture its title, its view and its scale bar."""
    axes.set_title(TITLES.get(key, key), fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlim(view[0], view[1])
    axes.set_ylim(view[2], view[3])
    axes.set_facecolor("0.85")  # where the beam has not been
    _scale_bar(axes, view, place.unit)


def _draw_domains(
    axes: Axes, value: np.ndarray, result: Mapping[str, Quantity], place: Placement
) -> None:
    """Draw each class in a colour of its own, the walls between, and a legend."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    classes = [str(name) for name in result["classes"].value]
    palette = colormaps["tab10" if len(classes) <= 10 else "turbo"].resampled(max(10, len(classes)))
    colors = [UNKNOWN_COLOR, *(palette(k) for k in range(len(classes)))]
    axes.imshow(
        np.ma.masked_invalid(value),
        cmap=ListedColormap(colors),
        vmin=-1.5,
        vmax=len(classes) - 0.5,
        interpolation="nearest",
        extent=place.box(value.shape),
    )
    points, scale = result.get("wall_points_m"), 1e9
    if points is None:
        points, scale = result.get("wall_points_px"), 1.0
    if points is not None:
        y, x = (np.asarray(points.value, float) * scale).T
        axes.plot(x, y, ".", color="black", markersize=1.5)
    shown = set(np.unique(value[np.isfinite(value)]).astype(int).tolist())
    names = ["unknown", *classes]
    axes.legend(
        handles=[
            Patch(color=colors[k + 1], label=names[k + 1])
            for k in range(-1, len(classes))
            if k in shown
        ],
        fontsize=6,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        ncols=6,
        frameon=False,
        handlelength=1.0,
        columnspacing=1.0,
    )


def _rows(low: float, high: float, axis: int, place: Placement) -> slice:
    """Return the pixels of one axis that lie between two edges."""
    first = (low - place.origin[axis]) / place.pixel[axis]
    last = (high - place.origin[axis]) / place.pixel[axis]
    return slice(max(int(np.floor(first)), 0), max(int(np.ceil(last)) + 1, 1))


def _scale_bar(axes: Axes, view: Box, unit: str) -> None:
    """Draw a bar of a round length, about a quarter of the picture wide."""
    width, height = view[1] - view[0], view[2] - view[3]
    decade = 10.0 ** np.floor(np.log10(width / 4))
    length = decade * max(m for m in (1, 2, 5) if m * decade <= width / 4 or m == 1)
    x, y = view[0] + width * 0.05, view[3] + height * 0.94
    for color, line_width in (("black", 5), ("white", 3)):
        axes.plot([x, x + length], [y, y], color=color, lw=line_width, solid_capstyle="butt")
    text = f"{length:g} {unit}"
    if unit == "nm" and length < 1:
        text = f"{length * 10:g} Å"
    label = axes.text(
        x + length / 2, y - height * 0.02, text, color="white", ha="center", va="bottom", fontsize=7
    )
    label.set_path_effects(_outline())


def _outline() -> list[Any]:
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2, foreground="black")]


def draw(figure: Figure, result: Mapping[str, Quantity], title: str) -> bool:
    """Draw the images of a result, or its series, side by side; return whether there were any."""
    found = images(result)
    if not found:
        return draw_series(figure, result, title)
    figure.clear()
    for axes, key in zip(np.atleast_1d(figure.subplots(1, len(found))), found, strict=True):
        draw_image(axes, key, result)
    figure.suptitle(title, fontsize=9)
    return True


def save_picture(path: Path, result: Mapping[str, Quantity], title: str) -> Path | None:
    """Draw a result to a PNG file; return its path, or None where there is nothing to draw."""
    from matplotlib.figure import Figure

    count = len(images(result))
    size = (0.4 + 3.2 * count, 3.2) if count else (0.4 + 4.6 * len(series(result)), 4.0)
    if size[0] < 1:
        return None
    figure = Figure(figsize=size, dpi=120, layout="constrained")
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
        self._cost_s = 0.0
        # one thread: matplotlib's text layout is not safe for two, and an analysis does not wait
        # for a picture while frames come
        self._drawing = ThreadPoolExecutor(1, "flyback-pictures")
        self._live: Future[None] | None = None

    def __call__(self, callback: LiveCallback) -> None:
        """Have it drawn, if it is time; called after each batch on the analysis' thread.

        The final picture is there on return; one on the way is left out while another is drawn.
        """
        publisher = callback.publisher
        if publisher is None:
            return
        if callback.finished:
            path = self._drawing.submit(self._draw, callback, publisher.start, final=True).result()
            self.saved += [path] if path is not None else []
            return
        now = time.monotonic()
        wait = max(self.period_s, self._cost_s / LARGEST_SHARE)
        if now - self._last.setdefault(publisher.uid, now) < wait:
            return
        if self._live is None or self._live.done():
            self._last[publisher.uid] = now
            self._live = self._drawing.submit(self._draw_live, callback, publisher.start)

    def close(self) -> None:
        """Draw what is asked for, and end the thread."""
        self._drawing.shutdown()

    def _draw_live(self, callback: LiveCallback, derived: Mapping[str, Any]) -> None:
        try:
            self._draw(callback, derived, final=False)
        except Exception:
            logger.warning("a picture of a live analysis could not be drawn", exc_info=True)

    def _draw(
        self, callback: LiveCallback, derived: Mapping[str, Any], *, final: bool
    ) -> Path | None:
        began, analysis = time.monotonic(), derived["analysis"]
        scan = callback.start.get("scan_id", callback.start["uid"][:8])
        plan = callback.start.get("plan_name", "run")
        title = f"{plan} {scan}: {analysis}, {callback.frames} frames"
        name = f"{callback.start['uid'][:8]}-{analysis}.png" if final else f"live-{analysis}.png"
        path = save_picture(self.directory / name, callback.result_, title)
        self._cost_s = time.monotonic() - began
        return path


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
