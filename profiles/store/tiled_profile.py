"""Let plain Tiled and databroker users see the same store, by name."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .catalog import RAW
from .embedded import EXPORTER, configuration
from .errors import CatalogError


def write_tiled_profile(
    directory: str | os.PathLike[str] | None = None,
    *,
    readable: Iterable[str | os.PathLike[str]] = (),
    uri: str | None = None,
    name: str = "flyback",
    folder: str | os.PathLike[str] | None = None,
) -> Path:
    """Write a Tiled profile of a store.

    Then ``tiled.client.from_profile("flyback")`` has ``raw`` and ``analysis``, and
    ``databroker.Broker.named("flyback_raw")`` and ``databroker.catalog["flyback_raw"]`` have the
    raw runs.

    Parameters
    ----------
    directory : path
        Of the embedded catalogue; it must have been opened once.
    readable : sequence of paths
        As for `open_catalog`.
    uri : str
        Of a Tiled server in place of the directory. Its key is not stored: Tiled reads it from
        TILED_API_KEY.
    name : str
        Of the profile.
    folder : path, optional
        Of profiles; else the one of the user that Tiled looks into.

    Returns
    -------
    path
        The file that was written.

    Raises
    ------
    CatalogError
        If another file defines the name, or this one cannot be written.
    """
    from tiled import profiles

    target = Path(folder) if folder is not None else Path(profiles.paths[-1])
    if uri is not None:
        content = _of_server(uri, name)
    elif directory is not None:
        content = _of_directory(Path(directory).resolve(), [Path(p) for p in readable], name)
    else:
        raise CatalogError("a Tiled profile needs a directory or the URI of a Tiled server")
    file = target / f"{name}.yml"
    _check_free(target, file, content)
    try:
        target.mkdir(parents=True, exist_ok=True)
        file.write_text(_yaml(content), encoding="utf-8")
    except OSError as error:
        raise CatalogError(
            f"the Tiled profile {file} cannot be written: {error.strerror or error}; give another "
            "folder, and TILED_PROFILES names it to Tiled"
        ) from error
    # Tiled reads its profiles once; whoever asks after us should see the new one.
    profiles.load_profiles.cache_clear()
    return file


def _of_directory(directory: Path, readable: list[Path], name: str) -> dict[str, Any]:
    # The root of a mount has the type that is said here, not the one of what is mounted.
    raw = {
        "mount_node": RAW,
        "specs": [{"name": "CatalogOfBlueskyRuns", "version": "3.0"}],
    }
    return {
        profile: {
            "direct": {
                "trees": [
                    {
                        "path": "/",
                        "tree": "catalog",
                        "args": configuration(directory, readable) | extra,
                    }
                ],
                "media_types": {"BlueskyRun": {"application/json-seq": EXPORTER}},
            }
        }
        for profile, extra in ((name, {}), (f"{name}_raw", raw))
    }


def _of_server(uri: str, name: str) -> dict[str, Any]:
    if "api_key" in uri:
        raise CatalogError("the key of a Tiled server goes in TILED_API_KEY, not in its profile")
    root = uri.rstrip("/")
    root = root if "/api/v1" in root else f"{root}/api/v1"
    return {name: {"uri": root}, f"{name}_raw": {"uri": f"{root}/metadata/{RAW}"}}


def _yaml(content: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(content, sort_keys=False)


def _check_free(folder: Path, file: Path, content: dict[str, Any]) -> None:
    """See that no other file has the name: Tiled would leave both out."""
    import yaml

    for other in [*folder.glob("*.yml"), *folder.glob("*.yaml")]:
        if other != file:
            try:
                names = set(yaml.safe_load(other.read_text(encoding="utf-8")) or ())
            except (OSError, yaml.YAMLError, TypeError):
                continue
            if clash := names & set(content):
                raise CatalogError(
                    f"{other} has a Tiled profile {min(clash)!r} already; choose another name"
                )
