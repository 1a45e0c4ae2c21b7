"""Whether documents are a run's: event-model's schemas, and who refers to whom."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import event_model
from jsonschema.exceptions import ValidationError

from ...callbacks.journal import JournalError, journal_path
from .streams import IngestError

LONGEST_UID = 100
_DATUMS = {"datum": "resource", "datum_page": "resource", "stream_datum": "stream_resource"}
_RESOURCES = ("resource", "stream_resource")


class StreamCheck:
    """Check the documents of one file, one after the other.

    Parameters
    ----------
    source : str
        Name of the file, for messages.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._number = -1
        self._open: set[str] = set()
        self._seen: set[str] = set()
        self._run_of: dict[str, str] = {}  # of descriptors and resources
        self._keys: dict[str, set[str]] = {}

    def __call__(self, name: str, doc: Mapping[str, Any]) -> str:
        """Return the uid of the run that a document belongs to.

        Raises
        ------
        IngestError
            Naming the number of the document in the file, counted from 0.
        """
        self._number += 1
        if name not in _KNOWN:
            raise self._wrong(name, "is of no kind that event-model knows")
        try:
            validator: Any = event_model.schema_validators[event_model.DocumentNames[name]]
            validator.validate(doc)
        except ValidationError as error:
            where = "/".join(str(part) for part in error.absolute_path)
            raise self._wrong(
                name, f"breaks the schema{f' at {where}' if where else ''}: {_short(error.message)}"
            ) from error
        # what jsonschema's own search of the schema meets in keys that are no text
        except (TypeError, AttributeError, ValueError) as error:
            raise self._wrong(name, f"cannot be checked: {_short(str(error))}") from error
        return getattr(self, f"_{_METHODS.get(name, name)}")(name, doc)

    def _start(self, name: str, doc: Mapping[str, Any]) -> str:
        uid = doc["uid"]
        if uid in self._seen:
            raise self._wrong(name, f"has the uid {_short(uid)} of another run of this file")
        try:
            journal_path(Path(), uid)
        except JournalError as error:
            raise self._wrong(name, f"is refused: {error}") from error
        if len(uid) > LONGEST_UID:
            raise self._wrong(name, f"has a uid of {len(uid)} characters, {LONGEST_UID} are enough")
        self._seen.add(uid)
        self._open.add(uid)
        return uid

    def _stop(self, name: str, doc: Mapping[str, Any]) -> str:
        run = self._of_open_run(name, doc["run_start"])
        self._open.discard(run)
        return run

    def _descriptor(self, name: str, doc: Mapping[str, Any]) -> str:
        run = self._of_open_run(name, doc["run_start"])
        self._run_of[doc["uid"]] = run
        self._keys[doc["uid"]] = {
            key
            for key, data_key in doc["data_keys"].items()
            if not str(data_key.get("external", "")).startswith("STREAM")
        }
        return run

    def _event(self, name: str, doc: Mapping[str, Any]) -> str:
        run = self._known(name, "descriptor", doc["descriptor"])
        expected, found = self._keys[doc["descriptor"]], set(doc["data"])
        if found != expected:
            what = ", ".join(sorted(map(str, expected ^ found))[:4])
            raise self._wrong(name, f"differs from its descriptor in the data keys {_short(what)}")
        if set(doc["timestamps"]) != found:
            raise self._wrong(name, "has timestamps of other data keys than its data")
        if name == "event_page":
            columns = [*doc["data"].values(), *doc["timestamps"].values(), doc["time"]]
            if any(len(column) != len(doc["seq_num"]) for column in columns):
                raise self._wrong(name, "has columns of different lengths")
        return run

    def _resource(self, name: str, doc: Mapping[str, Any]) -> str:
        run = doc.get("run_start")
        if run is None:
            if len(self._open) != 1:
                raise self._wrong(name, "does not say its run, and not just one is open")
            (run,) = self._open
        self._run_of[doc["uid"]] = self._of_open_run(name, run)
        return run

    def _datum(self, name: str, doc: Mapping[str, Any]) -> str:
        key = _DATUMS[name]
        if name == "stream_datum":
            self._known(name, "descriptor", doc["descriptor"])
            for part in ("indices", "seq_nums"):
                if not 0 <= doc[part]["start"] <= doc[part]["stop"]:
                    raise self._wrong(name, f"has {part} that do not run forward from 0 or later")
        return self._known(name, key, doc[key])

    def _known(self, name: str, what: str, uid: str) -> str:
        if uid not in self._run_of:
            raise self._wrong(name, f"names the {what} {_short(uid)}, which did not come before it")
        return self._of_open_run(name, self._run_of[uid])

    def _of_open_run(self, name: str, run: str) -> str:
        if run not in self._open:
            state = "has stopped" if run in self._seen else "did not start in this file"
            raise self._wrong(name, f"belongs to run {_short(run)}, which {state}")
        return run

    def _wrong(self, name: str, what: str) -> IngestError:
        return IngestError(f"document {self._number} of {self._source} ({_short(name)}) {what}")


_METHODS = dict.fromkeys(_RESOURCES, "resource") | dict.fromkeys(_DATUMS, "datum")
_METHODS["event_page"] = "event"
_KNOWN = set(event_model.DocumentNames.__members__) - {"bulk_events", "bulk_datum"}


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 160 else f"{line[:157]}..."
