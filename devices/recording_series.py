"""A folder or a .zip of files as one series, in natural order."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np

from .recording_fabio import FABIO_SUFFIXES
from .recording_frames import Joined
from .recording_images import TIFF_SUFFIXES, image_store
from .recording_joined import JoinedStore
from .recording_kinds import (
    NO_RECORDING,
    known,
    open_file,
    open_in_memory,
    open_stream,
    refusal,
    streamed,
)
from .recording_packed import Opener, unpacked_name
from .recording_store import LARGEST_BYTES, ArrayStore, RecordingError, Store
from .recording_text import TEXT_SUFFIXES

_SERIES = TEXT_SUFFIXES | TIFF_SUFFIXES | FABIO_SUFFIXES | {".mib"}
_LARGEST_MEMBER_BYTES = 1_000_000_000
_MOST_MEMBERS = 100_000
_SAME_KIND = {".tiff": ".tif", ".nxs": ".h5", ".hdf5": ".h5", ".hdf": ".h5"}
_TAKEN = ("taken_utc_s", "taken_with_zone")
_AXES = ("two_theta_deg", "q_per_a", "axis", "energy_kev_axis")


@dataclass(frozen=True)
class Member:
    """One file of a folder or archive."""

    name: str
    size: int
    open: Opener
    path: Path | None = None

    @property
    def suffix(self) -> str:
        """In small letters."""
        inner = PurePosixPath(unpacked_name(PurePosixPath(self.name).name)).suffix.lower()
        return inner if streamed(inner) else PurePosixPath(self.name).suffix.lower()

    @property
    def short(self) -> str:
        """The name without its folder."""
        return PurePosixPath(self.name).name


def natural(name: str) -> list[Any]:
    """Return a key that sorts scan_2 before scan_10."""
    return [int(part) if part.isdecimal() else part.lower() for part in re.split(r"(\d+)", name)]


def inside_zip(path: Path) -> tuple[Path, str] | None:
    """Return the archive and the member that ``archive.zip/member`` names, if it is one."""
    for parent in path.parents:
        if parent.suffix.lower() == ".zip" and parent.is_file():
            return parent, path.relative_to(parent).as_posix()
    return None


def open_files(paths: Sequence[Path]) -> Store:
    """Open several files of one kind as one series, in the order given.

    Parameters
    ----------
    paths : sequence of Path
        Also members of a .zip, as ``archive.zip/member``.

    Raises
    ------
    RecordingError
        When one is a folder, an archive or missing, or they are of several kinds.
    """
    members = [_member(path) for path in paths]
    kinds: dict[str, Member] = {}
    for member in members:
        if not known(member.suffix):
            raise refusal(member.short, member.suffix)
        kinds.setdefault(_SAME_KIND.get(member.suffix, member.suffix), member)
    if len(kinds) > 1:
        listed = ", ".join(f"{kind} ({member.short})" for kind, member in sorted(kinds.items())[:6])
        raise RecordingError(
            f"the {len(members)} files are of {len(kinds)} kinds, {listed}; a series has files of "
            "one kind: name these, or give the rest a run of its own."
        )
    masters = [m for m in members if m.short.endswith("_master.h5")]
    if len(masters) == 1:  # it links to the others
        return _open_one(masters[0])
    if members[0].suffix not in _SERIES:
        return JoinedStore([_open_one(m) for m in members], [m.short for m in members])
    return _series(members, "the series")


def _member(path: Path) -> Member:
    if path.is_dir() or path.suffix.lower() == ".zip":
        raise RecordingError(
            f"{path.name} is a folder or an archive; play it alone, a series is made of files."
        )
    if path.is_file():
        return Member(path.name, path.stat().st_size, lambda: path.open("rb"), path)
    within = inside_zip(path)
    if within is None:
        raise RecordingError(f"there is no file {path}.")
    archive, wanted = within
    found = next((m for m in _listed(archive) if wanted in (m.name, m.short)), None)
    if found is None:
        raise RecordingError(f"there is no file {wanted} in {archive.name}.")
    return found


def open_folder(path: Path) -> Store:
    """Open the files of a folder; folders inside it are left alone.

    Raises
    ------
    RecordingError
    """
    found = sorted(
        (file for file in path.iterdir() if file.is_file() and file.name[0] != "."),
        key=lambda file: natural(file.name),
    )
    members = [
        Member(file.name, file.stat().st_size, lambda file=file: file.open("rb"), file)
        for file in found
    ]
    return _choose(members, path, "folder")


def open_zip(path: Path, wanted: str | None = None) -> Store:
    """Open the files of a .zip archive, or one of them.

    Parameters
    ----------
    path : Path
    wanted : str, optional
        Name of a member, with or without its folder.

    Raises
    ------
    RecordingError
        When the archive is damaged, claims more than fits into memory, or holds no series.
    """
    members = _listed(path)
    if wanted is not None:
        members = [m for m in members if wanted in (m.name, m.short)]
        if not members:
            raise RecordingError(f"there is no file {wanted} in {path.name}.")
        if not known(members[0].suffix):
            return open_stream(members[0].open, members[0].short, members[0].size)
    return _choose(members, path, "archive")


def members(path: Path) -> list[str]:
    """Return the names of an archive's files in natural order, without hidden ones.

    Raises
    ------
    RecordingError
        When it is damaged.
    """
    return [member.name for member in _listed(path)]


def _listed(path: Path) -> list[Member]:
    """Return the files of an archive in natural order."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    except Exception as error:  # a forged archive raises anything
        raise RecordingError(
            f"{path.name} is no readable .zip file, or is cut short: {error}."
        ) from error
    if len(entries) > _MOST_MEMBERS:
        raise RecordingError(f"{path.name} holds {len(entries)} files; unpack what is needed.")
    return [
        Member(entry.filename, entry.file_size, _member_opener(path, entry.filename))
        for entry in sorted(entries, key=lambda entry: natural(entry.filename))
        if not any(p.startswith((".", "__MACOSX")) for p in PurePosixPath(entry.filename).parts)
    ]


def _member_opener(path: Path, name: str) -> Opener:
    def open_member() -> BinaryIO:
        # read as a whole: seeking in a compressed member reads it again from its start
        try:
            with zipfile.ZipFile(path) as archive, archive.open(name) as file:
                return io.BytesIO(file.read())
        except Exception as error:
            raise RecordingError(
                f"{name} in {path.name} cannot be read, the file may be cut short: {error}."
            ) from error

    return open_member


def _choose(members: Sequence[Member], path: Path, what: str) -> Store:
    """Open the kind of file that makes up most of a folder or archive."""
    kinds: dict[str, list[Member]] = {}
    for member in members:
        if known(member.suffix):
            kinds.setdefault(member.suffix, []).append(member)
    if not kinds:
        listed = ", ".join(sorted({m.suffix or m.short for m in members})[:6]) or "none"
        reason = next((NO_RECORDING[m.suffix] for m in members if m.suffix in NO_RECORDING), None)
        told = f"; such a file {reason}" if reason else ""
        raise RecordingError(
            f"the {what} {path.name} holds no file that can be played (its files: {listed}){told}; "
            "folders inside it are played one by one."
        )
    suffix, chosen = max(kinds.items(), key=lambda kind: sum(m.size for m in kind[1]))
    notes = []
    if len(kinds) > 1:
        others = ", ".join(sorted(set(kinds) - {suffix}))
        notes.append(f"{path.name}: the {suffix} files are played, {others} files are not")
    largest = max(member.size for member in chosen)
    total = sum(member.size for member in chosen)
    if (largest > _LARGEST_MEMBER_BYTES and what == "archive") or total > LARGEST_BYTES:
        raise RecordingError(
            f"the {suffix} files in {path.name} would take {total / 1e9:.1f} GB; unpack it, or "
            "store the frames in HDF5, which is read piece by piece."
        )
    masters = [m for m in chosen if m.short.endswith("_master.h5")]
    chosen = masters if len(masters) == 1 else chosen
    if len(chosen) == 1:
        store = _open_one(chosen[0])
    elif suffix in _SERIES:
        store = _series(chosen, f"the {what} {path.name}", f"{path.name}/")
    else:
        names = ", ".join(member.short for member in chosen[:4])
        raise RecordingError(
            f"the {what} {path.name} holds {len(chosen)} {suffix} files ({names}); play one of "
            f"them: {path.name}/{chosen[0].short}, or all as one series: {path.name}/*{suffix}."
        )
    store.notes += notes
    return store


def _open_one(member: Member) -> Store:
    if member.path is not None:
        return open_file(member.path)
    if member.suffix in _SERIES:
        return open_stream(member.open, member.short, member.size)
    return open_in_memory(member.open(), Path(member.short))


def _series(members: Sequence[Member], what: str, within: str = "") -> ArrayStore:
    opened = [open_stream(member.open, member.short, member.size) for member in members]
    keys = {next(k for k in ("frames", "patterns", "spectra", "element_spectra") if k in s.names)
            for s in opened}  # fmt: skip
    key = next(iter(keys))
    shapes = {store.shape(key)[1:] for store in opened} if len(keys) == 1 else {(), (0,)}
    if len(shapes) != 1:
        listed = ", ".join(
            f"{m.short} {s.shape(next(iter(keys & s.names)))[1:]}"
            for m, s in list(zip(members, opened, strict=True))[:4]
        )
        raise RecordingError(
            f"the {members[0].suffix} files in {what} differ in shape ({listed}); "
            f"play one of them: {within}{members[0].short}."
        )
    first = opened[0]
    parts = [store.lazy(key) for store in opened]
    notes = [f"series: {len(members)} files, {members[0].short} to {members[-1].short}"]
    notes += list(dict.fromkeys(note for store in opened for note in store.notes))[:6]
    if key == "frames":
        joined = image_store(Joined(parts), PurePosixPath(within).stem, [])
        alone = {"frames", "bad_pixels", *_TAKEN}
        facts = {n: first.lazy(n) for n in first.names if n not in alone}
        if all(set(_TAKEN) <= store.names for store in opened):
            facts |= {n: np.concatenate([store.array(n) for store in opened]) for n in _TAKEN}
        arrays = {**facts, **{n: joined.lazy(n) for n in joined.names}}
        return ArrayStore(arrays, list(dict.fromkeys(notes + joined.notes)), joined.grid)
    arrays = {name: first.lazy(name) for name in first.names}
    arrays[key] = np.concatenate(parts)
    arrays.pop("sigma", None)
    if all("sigma" in store.names for store in opened):
        arrays["sigma"] = np.concatenate([store.array("sigma") for store in opened])
    axis = next((name for name in _AXES if name in first.names), None)
    if axis is not None and not all(
        axis in s.names and np.allclose(s.array(axis), first.array(axis), rtol=0, atol=1e-4)
        for s in opened
    ):
        notes.append(f"{axis}: the files differ, the first one's was taken")
    return ArrayStore(arrays, notes)
