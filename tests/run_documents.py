"""Documents of a fly scan over arrays in HDF5 files, announced in any pieces and any order."""

from __future__ import annotations

import uuid
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
from event_model import compose_run


def write_files(folder: Path, frames, scan_index, positions, *, dark=None) -> dict[str, Path]:
    camera, coils = folder / "camera.h5", folder / "coils.h5"
    with h5py.File(camera, "w", libver="latest") as file:
        file["entry/data/frames"] = frames
        file["entry/data/scan_index"] = np.asarray(scan_index, np.int64)
        file["entry/data/time"] = 1e9 + np.arange(len(frames)) * 1e-3
        if dark is not None:
            file["entry/instrument/detector/dark"] = dark
    with h5py.File(coils, "w", libver="latest") as file:
        n = len(positions)
        file["entry/data/scan_index"] = np.arange(n)
        file["entry/data/commanded"] = np.asarray(positions, float)
        file["entry/data/readback"] = np.asarray(positions, float) + 0.25
    return {"camera": camera, "coils": coils}


def key(shape, dtype, units=""):
    return {
        "source": "test",
        "dtype": "array",
        "shape": list(shape),
        "dtype_numpy": np.dtype(dtype).str,
        "external": "STREAM:",
        "units": units,
    }


def cut(n: int, at) -> list[tuple[int, int]]:
    edges = sorted({0, n, *(int(a) % (n + 1) for a in at)})
    return list(pairwise(edges))


def fly_documents(
    files,
    frames,
    positions,
    *,
    camera_cuts=(),
    coil_cuts=(),
    coils_first=False,
    readback=True,
    **md,
):
    """Return [(name, doc)] of a run; cuts say where announcements are divided."""
    run = compose_run(metadata={"plan_name": "raster", "num_points": len(positions), **md})
    docs = [("start", dict(run.start_doc))]
    shape, dtype = frames.shape[1:], frames.dtype
    streams = {
        "primary": {
            "camera_frames": key(shape, dtype, "counts"),
            "camera_scan_index": key((), "<i8"),
            "camera_time": key((), "<f8", "s"),
        },
        "scan_coils": {
            "scan_coils_scan_index": key((), "<i8"),
            "scan_coils_commanded": key((2,), "<f8", "nm"),
            "scan_coils_readback": key((2,), "<f8", "nm"),
        },
    }
    if not readback:
        del streams["scan_coils"]["scan_coils_readback"]
    data: dict[str, list] = {}
    for stream, keys in streams.items():
        device = "camera" if stream == "primary" else "coils"
        n = len(frames) if device == "camera" else len(positions)
        pieces = cut(n, camera_cuts if device == "camera" else coil_cuts)
        bundle = run.compose_descriptor(
            name=stream,
            data_keys=keys,
            hints={},
            configuration={},
            object_keys={device: list(keys)},
        )
        docs.append(("descriptor", dict(bundle.descriptor_doc)))
        resources = {}
        for name in keys:
            field = name.removeprefix("camera_").removeprefix("scan_coils_")
            resource = run.compose_stream_resource(
                mimetype="application/x-hdf5",
                uri="file://localhost" + files[device].as_uri().removeprefix("file://"),
                data_key=name,
                parameters={"dataset": f"/entry/data/{field}", "chunk_shape": [1], "swmr": False},
            )
            docs.append(("stream_resource", dict(resource.stream_resource_doc)))
            resources[name] = resource.stream_resource_doc["uid"]
        data[device] = [
            (
                "stream_datum",
                {
                    "uid": str(uuid.uuid4()),
                    "stream_resource": resource,
                    "descriptor": bundle.descriptor_doc["uid"],
                    "indices": {"start": a, "stop": b},
                    "seq_nums": {"start": a + 1, "stop": b + 1},
                },
            )
            for a, b in pieces
            for resource in resources.values()
        ]
    order = ("coils", "camera") if coils_first else ("camera", "coils")
    queues = [list(data[d]) for d in order]
    while any(queues):  # interleaved, as a plan collects them
        for queue in queues:
            docs += queue[:3]
            del queue[:3]
    docs.append(("stop", dict(run.compose_stop())))
    return docs


def feed(source, docs):
    return [batch for name, doc in docs for batch in source(name, doc)]
