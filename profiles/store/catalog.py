"""One face for the store: an embedded catalogue in a directory, or a Tiled server by its URI."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from . import embedded
from .broker import broker_of
from .clients import StructureClients
from .errors import CatalogError

RAW = "raw"
ANALYSIS = "analysis"
CONNECT_TIMEOUT_S = 3.0

__all__ = ["ANALYSIS", "RAW", "Catalog", "CatalogError", "open_catalog"]


class Catalog:
    """An open catalogue of runs.

    Attributes
    ----------
    name : str
        The directory or URI, for messages.
    client : tiled client
        Of the root.
    raw, analysis : tiled client
        Acquired and derived runs: ``raw[-1]``, ``raw[scan_id]``, ``raw["uid..."]``.
    """

    def __init__(self, name: str, context: Any, address: tuple[str, int] | None = None) -> None:
        from tiled.client import from_context

        self.name = name
        self._address = address
        self._context = context
        client = from_context(context)
        self.client = client.new_variation(
            structure_clients=StructureClients.apart_from(client.structure_clients)
        )
        self.raw = self._container(RAW)
        self.analysis = self._container(ANALYSIS)

    def is_reachable(self) -> bool:
        """Say whether the catalogue answers; an embedded one always does."""
        return self._address is None or _answers(self._address)

    def container_of(self, start: Any) -> Any:
        """Return the container in which the run of a start document belongs."""
        return self.analysis if start.get("purpose") == "analysis" else self.raw

    @cached_property
    def _broker(self) -> Any:
        return broker_of(self.raw)

    def broker(self) -> Any:
        """Return the raw runs as a ``databroker.v1.Broker``: headers, tables, documents."""
        return self._broker

    def close(self) -> None:
        """Let go of the databases or the connection. Closing twice does nothing."""
        if self._context is not None:
            context, self._context = self._context, None
            context.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _container(self, key: str) -> Any:
        from tiled.client.utils import ClientError
        from tiled.structures.core import Spec

        if key not in self.client:
            spec = Spec("CatalogOfBlueskyRuns", version="3.0")
            try:
                self.client.create_container(key, specs=[spec])
            except ClientError:
                # Another process made it between the question and the answer.
                if key not in self.client:
                    raise
        return self.client[key]


def open_catalog(
    directory: str | os.PathLike[str] | None = None,
    *,
    readable: Iterable[str | os.PathLike[str]] = (),
    uri: str | None = None,
) -> Catalog:
    """Open the embedded catalogue of a directory, made if it is not there, or a Tiled server.

    Parameters
    ----------
    directory : path
        Of the embedded catalogue. Several processes may open it at once.
    readable : sequence of paths
        Folders whose files (frames, results) the embedded catalogue may serve.
    uri : str
        ``http://...`` of a Tiled server, in place of the directory. Its key is read from the
        environment variable TILED_API_KEY and stored nowhere.

    Raises
    ------
    CatalogError
        If it cannot be opened; the sentence says what to do.
    """
    if uri is not None:
        return _open_server(uri)
    if directory is None:
        raise CatalogError("a catalogue needs a directory or the URI of a Tiled server")
    return _open_embedded(Path(directory).expanduser().resolve(), [Path(p) for p in readable])


def _open_embedded(directory: Path, readable: list[Path]) -> Catalog:
    try:
        embedded.create(directory)
        context = embedded.connect(directory, readable)
    except CatalogError:
        raise
    except OSError as error:
        raise CatalogError(
            f"the catalogue in {directory} cannot be opened: {error.strerror or error}; check the "
            "permissions or choose another directory"
        ) from error
    except Exception as error:
        raise CatalogError(
            f"the catalogue in {directory} cannot be opened: {_first_line(error)}; move its "
            f"{embedded.CATALOG_FILE} away and run recovery: it fills a new one from the journals"
        ) from error
    return _with_containers(str(directory), context)


def _open_server(uri: str) -> Catalog:
    import httpx
    from tiled.client import Context

    parts = urlsplit(uri)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise CatalogError(f"{uri!r} is not the URI of a Tiled server, as http://host:8000 is")
    if "api_key" in parts.query:
        raise CatalogError("the key of a Tiled server goes in TILED_API_KEY, not in its URI")
    address = (parts.hostname or "", parts.port or {"http": 80, "https": 443}[parts.scheme])
    # Asked first, as Tiled's client would try for minutes.
    if not _answers(address):
        raise CatalogError(f"the Tiled server {uri} does not answer; start it or check the address")
    try:
        context, _ = Context.from_any_uri(uri)
    except httpx.HTTPStatusError as error:
        raise CatalogError(
            f"{uri} answers {error.response.status_code}; check that it is a Tiled server and that "
            "TILED_API_KEY holds its key"
        ) from error
    # A web server of another kind fails Tiled's client in many ways.
    except Exception as error:
        raise CatalogError(
            f"{uri} answers, but not as a Tiled server does ({type(error).__name__}: "
            f"{_first_line(error)}); check the address"
        ) from error
    return _with_containers(uri, context, address)


def _with_containers(name: str, context: Any, address: tuple[str, int] | None = None) -> Catalog:
    try:
        return Catalog(name, context, address)
    except Exception as error:
        context.close()
        raise CatalogError(
            f"the catalogue {name} cannot be used: {_first_line(error)}; check that it may be "
            "written (for a server: that TILED_API_KEY holds its key)"
        ) from error


def _answers(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=CONNECT_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error))
