"""What a worker of a cluster does: analyse a run, or some blocks of one, or join such parts.

Documents come packed (see `callbacks.codec`) and go packed; frames are read here, from the files
that the documents name, and final arrays are written into the archive's folder of results. A task
that is done twice, because a worker was lost, leaves at most a file that belongs to no run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..callbacks.codec import packer, unpack
from ..callbacks.frames import FrameSource
from ..callbacks.live import LiveCallback
from ..callbacks.publish import Publisher
from ..models.base import Mergeable, Quantity
from .compose import check_analysis, parameters_of

Document = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Job:
    """One analysis of one stored run.

    Parameters
    ----------
    documents : bytes
        The run's documents, packed.
    name : str
        Of the analysis.
    table : mapping
        Its settings.
    results : str
        Folder of results, the same on all machines.
    replay_of : str or None
    """

    documents: bytes
    name: str
    table: Mapping[str, Any]
    results: str
    replay_of: str | None


@dataclass(frozen=True)
class Part:
    """What was learnt from some blocks of a run.

    Parameters
    ----------
    model : object or None
        None where there was no frame.
    frames : int
    """

    model: Any
    frames: int


class NotJoinedError(ValueError):
    """The parts of a run cannot be joined; the run can be analysed whole."""


def whole(job: Job) -> bytes:
    """Analyse a run; return `Answer`, packed."""
    callback, derived, documents = _begin(job)
    for name, doc in documents:
        if callback is not None:
            callback(name, doc)
    if callback is not None and not callback.finished and callback.error is None:
        callback("stop", {"run_start": documents[0][1]["uid"]})  # a run that was cut off
    return _answer(callback, derived)


def part(job: Job, first: int, stop: int) -> Part:
    """Learn from the blocks [first, stop) of a run.

    Raises
    ------
    NotJoinedError
        When the analysis has no `merge`, or is not made of frames.
    """
    callback, _, documents = _begin(job)
    if callback is None:
        return Part(None, 0)
    if not isinstance(callback.source, FrameSource):
        raise NotJoinedError(f"{job.name} does not learn from frames")
    callback.source.blocks = range(first, stop)
    try:
        for name, doc in documents:
            callback.learn(name, doc)
        if documents[-1][0] != "stop":  # a run that was cut off: what there is, counts
            callback.learn("stop", {"run_start": documents[0][1]["uid"]})
    finally:
        callback.source.close()
    if callback.model is not None and not isinstance(callback.model, Mergeable):
        raise NotJoinedError(f"{job.name} has no merge()")
    return Part(callback.model, callback.frames)


def join(job: Job, parts: Sequence[Part]) -> bytes:
    """Join the parts of a run, in their order, and publish; return `Answer`, packed.

    Raises
    ------
    NotJoinedError
        When the models do not fit together.
    """
    callback, derived, documents = _begin(job)
    learnt = [each for each in parts if each.model is not None]
    if callback is not None and learnt:
        model = learnt[0].model
        try:
            for each in learnt[1:]:
                model.merge(each.model)
        except ValueError as error:
            raise NotJoinedError(str(error)) from error
        for name, doc in documents:
            callback.cell(name, doc)
        callback.conclude(model, sum(each.frames for each in learnt))
    return _answer(callback, derived)


def pack_documents(documents: Sequence[tuple[str, Mapping[str, Any]]]) -> bytes:
    """Return documents as one piece of data, without pickles."""
    return packer().pack([[name, dict(doc)] for name, doc in documents])


def unpack_documents(data: bytes) -> list[Document]:
    """Return what `pack_documents` has packed."""
    return [(name, doc) for name, doc in unpack(data)]


def _begin(job: Job) -> tuple[LiveCallback | None, list[Document], list[Document]]:
    documents = unpack_documents(job.documents)
    start, derived = documents[0][1], []

    def publisher() -> Publisher:
        return Publisher(
            lambda name, doc: derived.append((name, doc)),
            Path(job.results),
            analysis=job.name,
            parent=start,
            parameters=parameters_of(job.table),
            replay_of=job.replay_of,
        )

    callback = check_analysis(job.name, job.table)(start, publisher)
    return callback, derived, documents[1:] if callback is None else documents


def _answer(callback: LiveCallback | None, derived: list[Document]) -> bytes:
    if callback is None or callback.publisher is None:
        return packer().pack(None)
    error = callback.error
    return packer().pack(
        {
            "documents": [[name, dict(doc)] for name, doc in derived],
            "frames": callback.frames,
            "error": None if error is None else f"{type(error).__name__}: {error}",
            "final": {key: _quantity(q) for key, q in callback.final.items()},
        }
    )


def _quantity(q: Quantity) -> list[Any]:
    """Return a quantity as data; an array that is in the file of results is not sent."""
    in_file = isinstance(q.value, np.ndarray) and q.dims and q.value.dtype.kind in "biufc"
    sent = None if in_file and q.value.size else q.value
    return [sent, q.units, list(q.dims)]
