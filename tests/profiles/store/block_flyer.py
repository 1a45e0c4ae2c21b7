"""A small camera that flies: HDF5 SWMR blocks, announced when they are on disk.

Also run by the crash test's own process, and therefore a plain file.
"""

import threading
import uuid
from pathlib import Path

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import h5py
import numpy as np
from ophyd import Device
from ophyd.status import DeviceStatus


def frames_at(indices, shape=(128, 128)):
    """What the camera sees: each frame is told from every other."""
    y, x = np.indices(shape)
    return ((np.asarray(indices)[:, None, None] * 7 + y * shape[1] + x) % 60_000).astype("<u2")


class BlockFlyer(Device):
    """Fly-scan `n_frames` in blocks; `gate` is called before each block is written."""

    def __init__(self, *, name, directory, n_frames, block=16, shape=(128, 128), gate=None):
        super().__init__("", name=name)
        self.directory, self.n_frames, self.block = Path(directory), n_frames, block
        self.frame_shape, self.gate = shape, gate or (lambda start: None)

    def stage(self):
        self.path = self.directory / f"{self.name}_{uuid.uuid4().hex[:8]}.h5"
        self.file = h5py.File(self.path, "w", libver="latest")
        self.fields = {
            f"{self.name}_frames": ("/entry/data/frames", self.frame_shape, "<u2"),
            f"{self.name}_scan_index": ("/entry/data/scan_index", (), "<i8"),
            f"{self.name}_time": ("/entry/data/time", (), "<f8"),
        }
        for path, shape, dtype in self.fields.values():
            self.file.create_dataset(
                path, (0, *shape), dtype, maxshape=(None, *shape), chunks=(self.block, *shape)
            )
        self.file.swmr_mode = True
        self.resources = {key: str(uuid.uuid4()) for key in self.fields}
        self.written, self.announced = 0, dict.fromkeys(self.fields, 0)
        return super().stage()

    def kickoff(self):
        self.done, started = DeviceStatus(self), DeviceStatus(self)
        self.thread = threading.Thread(target=self._acquire)
        self.thread.start()
        started.set_finished()
        return started

    def _acquire(self):
        try:
            for start in range(0, self.n_frames, self.block):
                self.gate(start)
                index = np.arange(start, min(start + self.block, self.n_frames))
                values = (frames_at(index, self.frame_shape), index, index * 0.5)
                for (path, *_), value in zip(self.fields.values(), values, strict=True):
                    dataset = self.file[path]
                    dataset.resize(index[-1] + 1, 0)
                    dataset[start:] = value
                    dataset.flush()
                self.written = int(index[-1]) + 1
            self.done.set_finished()
        except Exception as error:
            self.done.set_exception(error)

    def complete(self):
        return self.done

    def describe_collect(self):
        return {
            key: {
                "source": "test",
                "dtype": "array" if shape else "number",
                "shape": list(shape),
                "dtype_numpy": dtype,
                "external": "STREAM:",
                "units": "s" if key.endswith("time") else "counts",
                "object_name": self.name,
            }
            for key, (_, shape, dtype) in self.fields.items()
        }

    def get_index(self):
        return self.written

    def collect_asset_docs(self, index=None):
        stop = self.written if index is None else min(index, self.written)
        for key, (path, shape, _) in self.fields.items():
            start, uid = self.announced[key], self.resources[key]
            if stop == start:
                continue
            if not start:
                yield (
                    "stream_resource",
                    {
                        "uid": uid,
                        "data_key": key,
                        "mimetype": "application/x-hdf5",
                        "uri": f"file://localhost/{self.path.as_posix().lstrip('/')}",
                        "parameters": {
                            "dataset": path,
                            "chunk_shape": [self.block, *shape],
                            "swmr": True,
                        },
                    },
                )
            yield (
                "stream_datum",
                {
                    "uid": f"{uid}/{start}",
                    "stream_resource": uid,
                    "descriptor": "",
                    "indices": {"start": start, "stop": stop},
                    "seq_nums": {"start": 0, "stop": 0},
                },
            )
            self.announced[key] = stop

    def unstage(self):
        self.thread.join()
        self.file.close()
        return super().unstage()


def fly(flyer, readables=(), **md):
    """One run: a baseline reading and the flyer's stream."""

    @bpp.stage_decorator([flyer])
    @bpp.run_decorator(md={"plan_name": "fly", **md})
    def inner():
        if readables:
            yield from bps.trigger_and_read(list(readables), name="baseline")
        yield from bps.declare_stream(flyer, name="primary", collect=True)
        yield from bps.kickoff_all(flyer, wait=True)
        yield from bps.collect_while_completing(
            [flyer], [flyer], flush_period=0.02, stream_name="primary"
        )

    return (yield from inner())
