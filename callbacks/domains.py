"""Domains of every scan: what each pattern shows, by a network, and the walls between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from ..models.base import Batch
from ..models.domains.classifier import Classifier, find
from ..models.domains.domain_map import DomainMap
from .live import LiveCallback
from .metadata import METADATA_KEYS, experiment_of, with_lag
from .publish import Publisher

DEFAULT = "PbTiO3"


def domains(
    start: Mapping[str, Any],
    publisher: Callable[[], Publisher],
    *,
    model: str = DEFAULT,
    threshold: float | None = None,
    threads: int | None = None,
    **metadata: Any,
) -> LiveCallback:
    """Build the analysis `domains` for a run.

    Parameters
    ----------
    start : mapping
        The run's start document.
    publisher : callable () -> Publisher
    model : str
        An .onnx file with its card beside it, or the name of an installed network.
    threshold : float, optional
        Least probability at which a class is believed; by default the card's.
    threads : int, optional
        Most threads that the network takes.
    **metadata
        Keys that take the place of those in the start document, such as ``angular_sampling_mrad``.

    Raises
    ------
    NetworkError, CardError
        When the network cannot be used.
    """
    classifier = opened(model, threads)

    def build(batch: Batch) -> DomainMap:
        return DomainMap(experiment_of(start, metadata), classifier, threshold=threshold)

    return LiveCallback(with_lag(start, metadata), publisher, build)


def opened(model: str = DEFAULT, threads: int | None = None) -> Classifier:
    """Return an open network; one that has not changed on disk is opened once.

    Raises
    ------
    NetworkError, CardError
        When it cannot be used.
    """
    path = find(str(model))
    card = path.with_suffix(".toml")
    stamps = tuple(p.stat().st_mtime_ns for p in (path, card) if p.is_file())
    return _opened(str(path.resolve()), threads, stamps)


@lru_cache(maxsize=4)
def _opened(path: str, threads: int | None, stamps: tuple[int, ...]) -> Classifier:
    return Classifier(path, threads=threads)


def check(table: Mapping[str, Any]) -> None:
    """Open the network that a profile's table names: what is wrong with it is said at once."""
    opened(table.get("model", DEFAULT), table.get("threads"))


domains.also_accepts = METADATA_KEYS  # type: ignore[attr-defined]
domains.check = check  # type: ignore[attr-defined]
