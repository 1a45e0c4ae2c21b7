"""Stored runs analysed again by many processes, on this machine or on a cluster (dask).

``flyback replay UID[,UID...] NAME --on local`` or ``--on tcp://scheduler:8786``. Each run is a
task; one run alone is cut into parts where its model has `merge`. Only documents and what models
have learnt travel; frames are read by the workers from their files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import h5py

from ..callbacks.codec import unpack
from ..callbacks.frames import block_length
from ..callbacks.live import LiveCallback
from ..callbacks.publish import ARRAYS
from ..models.base import Quantity
from . import cluster_tasks as tasks
from .archive import Archive
from .compose import check_analysis
from .replay import Replayed, ReplayError, stored_documents
from .session import uid_of

LOCAL = "local"
_END = 1 << 62


class ClusterError(RuntimeError):
    """The cluster cannot be used."""


def replay_on(
    runs: Sequence[Any],
    name: str,
    *,
    on: str,
    archive: Archive,
    source: str = "catalogue",
    settings: Mapping[str, Any] | None = None,
    parts: int | None = None,
) -> list[Replayed]:
    """Run an analysis over stored runs again, on a cluster.

    Parameters
    ----------
    runs : sequence of str, int or catalogue entry
    name : str
        Of the analysis.
    on : str
        Address of a dask scheduler, or "local": processes of this machine, one a core.
    archive : Archive
        Its folders must be found under the same names by all workers.
    source : {"catalogue", "journal"}
    settings : mapping, optional
        Change the settings that the analysis had when it ran before (or its defaults).
    parts : int, optional
        Into how many parts each run is cut: 1 for several runs and one a worker for a single one
        where it is left out. A run whose parts cannot be joined is analysed whole.

    Returns
    -------
    list of Replayed
        In the order of `runs`; an error of an analysis is kept in `error`.

    Raises
    ------
    ClusterError
        If `distributed` is not installed or the scheduler does not answer.
    ReplayError
        If a run has no frames for the analysis.
    ValueError
        If `parts` is not positive.
    """
    if parts is not None and parts < 1:
        raise ValueError(f"parts must be at least 1, got {parts}")
    found = [archive.find(run) if isinstance(run, str | int) else run for run in runs]
    uids = list(dict.fromkeys(uid_of(run) for run in found))
    jobs = {uid: _job(archive, uid, name, dict(settings or {}), source) for uid in uids}
    with client_of(on) as client:
        if parts is None:
            parts = len(client.scheduler_info(n_workers=-1)["workers"]) if len(uids) == 1 else 1
        futures = {uid: _submit(client, job, parts) for uid, job in jobs.items()}
        return [_collect(client, archive, uid, jobs[uid], futures[uid]) for uid in uids]


@contextmanager
def client_of(on: str) -> Iterator[Any]:
    """Connect to a scheduler; "local" starts one, on loopback, with a process a core."""
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ClusterError(
            "a replay on a cluster needs dask: pip install 'flyback[cluster]'"
        ) from error
    if on != LOCAL:
        try:
            client = Client(on, timeout="10s", set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise ClusterError(
                f"the dask scheduler {on} does not answer; start it (dask scheduler) or check the "
                "address"
            ) from error
        with client:
            yield client
        return
    with (
        LocalCluster(
            n_workers=max(os.cpu_count() or 1, 2),
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=cast("Any", None),
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def _job(archive: Archive, uid: str, name: str, settings: dict[str, Any], source: str) -> tasks.Job:
    before = archive.analyses(uid).get(name)
    table = dict(before.metadata["start"]["parameters"]) if before is not None else {}
    table |= settings
    check_analysis(name, table)  # said here, before anything is sent
    documents = [(n, doc) for _, n, doc in stored_documents(archive, [uid], source=source)]
    return tasks.Job(
        tasks.pack_documents(documents),
        name,
        table,
        str(archive.layout.results),
        None if before is None else uid_of(before),
    )


def _submit(client: Any, job: tasks.Job, parts: int) -> Any:
    """Return the future of a run's answer.

    A task whose worker is lost is done again by another one: dask sees to that, three times.
    """
    ranges = _ranges(tasks.unpack_documents(job.documents), parts)
    if len(ranges) < 2:
        return client.submit(tasks.whole, job, pure=False)
    learnt = [client.submit(tasks.part, job, first, stop, pure=False) for first, stop in ranges]
    return client.submit(tasks.join, job, learnt, pure=False)


def _ranges(
    documents: Sequence[tuple[str, Mapping[str, Any]]], parts: int
) -> list[tuple[int, int]]:
    """Cut a run at ends of blocks, so that parts see the blocks that the whole would see."""
    rows: dict[str, int] = {}
    for name, doc in documents:
        if name == "stream_datum":
            rows[doc["stream_resource"]] = max(
                rows.get(doc["stream_resource"], 0), doc["seq_nums"]["stop"] - 1
            )
    start = documents[0][1]
    points = max([int(start.get("num_points") or 0), *rows.values()])
    blocks = -(-points // block_length(start))
    parts = max(min(parts, blocks), 1)
    cuts = [blocks * i // parts for i in range(parts)] + [_END]
    return list(pairwise(cuts))


def _collect(client: Any, archive: Archive, uid: str, job: tasks.Job, future: Any) -> Replayed:
    from distributed.scheduler import KilledWorker

    try:
        try:
            packed = future.result()
        except tasks.NotJoinedError:
            packed = client.submit(tasks.whole, job, pure=False).result()
    except KilledWorker as error:
        raise ClusterError(
            f"run {uid}: the workers died again and again in {job.name!r}; see whether their "
            "memory suffices"
        ) from error
    answer = unpack(packed)
    if answer is None:
        raise ReplayError(f"run {uid} has no frames that {job.name!r} could take")
    documents = [(name, doc) for name, doc in answer["documents"]]
    for name, doc in documents:
        archive.emit(name, doc)
    archive.wait()
    start = documents[0][1]
    callback = LiveCallback(tasks.unpack_documents(job.documents)[0][1], _elsewhere, _elsewhere)
    callback.publisher = SimpleNamespace(uid=start["uid"], start=start)  # type: ignore[assignment]
    callback.frames = answer["frames"]
    callback.error = RuntimeError(answer["error"]) if answer["error"] else None
    callback.finished = callback.error is None
    callback.final = _final(answer["final"], archive.layout.results / f"{start['uid']}.h5")
    return Replayed(start["uid"], job.name, uid, callback.final, callback.error, callback)


def _final(sent: Mapping[str, Any], path: Path) -> dict[str, Quantity]:
    """Return the quantities of an answer, arrays from the file of results."""
    final = {}
    missing = [key for key, (value, _, _) in sent.items() if value is None]
    arrays = {}
    if missing:
        with h5py.File(path, "r") as file:
            for key in missing:
                array = cast("h5py.Dataset", file[f"{ARRAYS}/{key}"])[()]
                arrays[key] = array if len(sent[key][2]) == array.ndim else array[0]
    for key, (value, units, dims) in sent.items():
        final[key] = Quantity(arrays.get(key, value), units, tuple(dims))
    return final


def _elsewhere(*_: Any) -> Any:
    raise RuntimeError("the model is on another machine")
