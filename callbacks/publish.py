"""Publisher: an analysis' results become a derived run's documents.

The derived run is an ordinary Bluesky run: its start names the run it came from, the parameters
and the versions that made it; scalars go into events as the analysis learns (rate-limited, always
a final one); final arrays go to HDF5 and are announced by stream_datum; texts and flags into one
`summary` event.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import event_model
import h5py
import numpy as np

from ..models.base import Quantity

Emit = Callable[[str, dict[str, Any]], None]
ARRAYS = "/entry/result"


def software_versions() -> dict[str, str]:
    """Return the versions of what computes: flyback, numpy, scipy, numba."""
    return {name: version(name) for name in ("flyback", "numpy", "scipy", "numba")}


def _is_text(value: Any) -> bool:
    if isinstance(value, str):
        return True
    return isinstance(value, list | tuple) and all(isinstance(x, str) for x in value)


class Publisher:
    """Write one analysis of one run as a derived run.

    Parameters
    ----------
    emit : callable (name, document)
        Takes every document: the journal first, then the store.
    directory : Path
        Where the arrays' HDF5 file goes.
    analysis : str
        Name of the analysis; a key of the start document.
    parent : mapping
        Start document of the analysed run.
    parameters : mapping
        Settings of the analysis, JSON-able.
    replay_of : str, optional
        Uid of the derived run that this one computes again.
    period_s : float
        Least time between two events of the `primary` stream.
    """

    def __init__(
        self,
        emit: Emit,
        directory: Path,
        *,
        analysis: str,
        parent: Mapping[str, Any],
        parameters: Mapping[str, Any],
        replay_of: str | None = None,
        period_s: float = 1.0,
    ) -> None:
        self._emit = emit
        self._directory = Path(directory)
        self._period_s = period_s
        self._last = -np.inf
        self._progress: Any = None
        self._keys: list[str] = []
        self._closed = False
        metadata = {
            "purpose": "analysis",
            "analysis": analysis,
            "plan_name": f"analysis:{analysis}",
            "parents": [parent["uid"]],
            "original_run_uid": parent["uid"],
            "parameters": dict(parameters),
            "versions": software_versions(),
        }
        if "sample" in parent:
            metadata["sample"] = parent["sample"]
        if replay_of is not None:
            metadata["replay_of"] = replay_of
        self._run: Any = event_model.compose_run(metadata=metadata)
        self.uid: str = self._run.start_doc["uid"]
        self.start: Mapping[str, Any] = self._run.start_doc
        self._emit("start", dict(self._run.start_doc))

    def due(self) -> bool:
        """Whether enough time has passed for the next event."""
        return time.monotonic() - self._last >= self._period_s

    def update(self, quantities: Mapping[str, Quantity]) -> None:
        """Publish the scalar quantities as one event of the `primary` stream."""
        numbers = {
            key: float(q.value)
            for key, q in quantities.items()
            if not q.dims and not isinstance(q.value, str | bool | np.bool_)
        }
        if self._progress is None:
            self._keys = sorted(numbers)
            data_keys = {key: _key(quantities[key], "number", "<f8", []) for key in self._keys}
            self._progress = self._describe("primary", data_keys)
        data = {key: numbers.get(key, float("nan")) for key in self._keys}
        self._event(self._progress, data)
        self._last = time.monotonic()

    def finish(self, quantities: Mapping[str, Quantity]) -> None:
        """Publish the final scalars, arrays and texts, and close the run as a success.

        An array with nothing in it, such as the places of no peaks, is left out: the catalogue has
        no chunk for it.
        """
        self.update(quantities)
        arrays = {
            key: q
            for key, q in quantities.items()
            if q.dims and not _is_text(q.value) and np.size(q.value)
        }
        if arrays:
            self._arrays(arrays)
        texts = {
            key: q
            for key, q in quantities.items()
            if _is_text(q.value) or isinstance(q.value, bool | np.bool_)
        }
        if texts:
            self._summary(texts)
        self._stop("success", "")

    def fail(self, reason: str) -> None:
        """Close the run as failed, saying why."""
        self._stop("fail", reason)

    def _arrays(self, arrays: Mapping[str, Quantity]) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        path = (self._directory / f"{self.uid}.h5").resolve()
        partial = path.with_suffix(".partial")
        values = {key: np.asarray(q.value) for key, q in arrays.items()}
        with h5py.File(partial, "w", libver="latest") as file:
            for key, value in values.items():
                dataset = file.create_dataset(f"{ARRAYS}/{key}", data=_row(value))
                dataset.attrs["units"] = arrays[key].units
                dataset.attrs["dims"] = list(arrays[key].dims)
        partial.replace(path)  # nothing half-written ever looks whole
        data_keys = {
            key: _key(arrays[key], "array", value.dtype.str, list(value.shape))
            | {"external": "STREAM:", "dims": list(arrays[key].dims)}
            for key, value in values.items()
        }
        descriptor = self._describe("result", data_keys)
        uri = "file://localhost" + path.as_uri().removeprefix("file://")
        for key, value in values.items():
            resource = self._run.compose_stream_resource(
                mimetype="application/x-hdf5",
                uri=uri,
                data_key=key,
                parameters={
                    "dataset": f"{ARRAYS}/{key}",
                    "chunk_shape": list(_row(value).shape),
                    "swmr": False,
                },
            )
            self._emit("stream_resource", dict(resource.stream_resource_doc))
            datum = resource.compose_stream_datum(
                {"start": 0, "stop": 1},
                {"start": 1, "stop": 2},
                descriptor=descriptor.descriptor_doc,
            )
            self._emit("stream_datum", dict(datum))

    def _summary(self, texts: Mapping[str, Quantity]) -> None:
        data_keys, data = {}, {}
        for key, q in texts.items():
            if _is_text(q.value):
                data_keys[key] = _key(q, "string", None, [])
                data[key] = q.value if isinstance(q.value, str) else "; ".join(q.value)
            else:
                data_keys[key] = _key(q, "boolean", "|b1", [])
                data[key] = bool(q.value)
        self._event(self._describe("summary", data_keys), data)

    def _describe(self, name: str, data_keys: dict[str, Any]) -> Any:
        bundle = self._run.compose_descriptor(
            name=name,
            data_keys=data_keys,
            hints={},
            configuration={},
            object_keys={"analysis": list(data_keys)},
        )
        self._emit("descriptor", dict(bundle.descriptor_doc))
        return bundle

    def _event(self, descriptor: Any, data: dict[str, Any]) -> None:
        now = time.time()
        event = descriptor.compose_event(data=data, timestamps=dict.fromkeys(data, now))
        self._emit("event", dict(event))

    def _stop(self, exit_status: Literal["success", "fail"], reason: str) -> None:
        if not self._closed:
            self._closed = True
            stop = self._run.compose_stop(exit_status=exit_status, reason=reason)
            self._emit("stop", dict(stop))


def _row(value: np.ndarray) -> np.ndarray:
    """Return an array as the one row of a dataset.

    One number in a list is stored as a number: bluesky-tiled-plugins reads the shape (1,) so.
    """
    return value if value.shape == (1,) else value[None]


def _key(q: Quantity, dtype: str, dtype_numpy: str | None, shape: list[int]) -> dict[str, Any]:
    key: dict[str, Any] = {"source": "flyback", "dtype": dtype, "shape": shape, "units": q.units}
    if dtype_numpy is not None:
        key["dtype_numpy"] = dtype_numpy
    return key
