"""One run into the catalogue, document by document, written when `flush` says so.

Built on the upstream writer, which writes by count only: a slow scan would stay invisible until it
stops. The one module that touches private names of bluesky-tiled-plugins (pinned to 2.0.x).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np

# Never reached: `flush` decides when rows and frames are written.
_NEVER = 1 << 62

ASSETS_KEY = "assets"
IN_PROCESS = "local-tiled-app"  # the host that Tiled gives an application in the same process
ASSET_KEYS = frozenset({"data_key", "mimetype", "uri", "parameters"})


class RunWriter:
    """Write one run.

    Parameters
    ----------
    container : tiled client
        In which the run is made.
    """

    def __init__(self, container: Any) -> None:
        from bluesky_tiled_plugins.writing.tiled_writer import RunNormalizer, _RunWriter

        # Arrays never go into the tables: short ones would come back as text.
        self._writer = _RunWriter(
            container.include_data_sources(), batch_size=_NEVER, max_array_size=0
        )
        if IN_PROCESS in str(container.context.api_uri):
            # Nobody can listen to a catalogue in this process, and telling each node of a run that
            # it is over takes a third of the time of writing it.
            self._writer._close_stream_tree = lambda: None  # noqa: SLF001
        self._normalizer = RunNormalizer()
        self._normalizer.subscribe(self._writer)
        self._plain: set[str] = set()
        self._unsaid: dict[str, set[str]] = {}  # stream -> keys of arrays of an unstated dtype
        self._assets: dict[str, dict[str, Any]] = {}

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take one document; start, descriptor and stop are written at once."""
        if name in {"stream_resource", "stream_datum"}:
            self._note(name, doc)
        if name == "stop":
            self.flush()
            self._write_assets()
        if name == "descriptor":
            self._unsaid.setdefault(doc["name"], set()).update(_unsaid(doc))
            if _is_plain(doc):
                self._plain.add(doc["uid"])
        if name == "event" and doc["descriptor"] in self._plain:
            # Copying and validating each event again would cost more than storing it.
            self._writer.event(cast("Any", doc))
            return
        # The normaliser copies each document before it changes anything.
        self._normalizer(name, cast("dict[str, Any]", doc))

    def flush(self) -> None:
        """Write the rows and frames that were announced since the last time."""
        writer = self._writer
        for stream, rows in writer._internal_data_cache.items():  # noqa: SLF001
            if rows:
                self._leave_out_empty(rows)
                self._say_dtypes(stream, rows)
                writer._write_internal_data(rows, desc_node=writer._desc_nodes[stream])  # noqa: SLF001
                rows.clear()
        waiting = writer._external_data_cache  # noqa: SLF001
        while waiting:
            # The oldest first: files stand in the catalogue in the order of their first datum.
            datum = waiting.pop(next(iter(waiting)))
            if not self._made_with(datum):
                writer._write_external_data(datum)  # noqa: SLF001

    def _made_with(self, datum: Mapping[str, Any]) -> bool:
        """Make the node of a key with what its first datum announces.

        Upstream makes it empty and then writes what there is: two requests in place of one, which
        is a third of the time of writing a derived run.
        """
        from bluesky_tiled_plugins.writing.consolidators import consolidator_factory

        nodes: Any = self._writer._sres_nodes  # noqa: SLF001
        consolidators: Any = self._writer._consolidators  # noqa: SLF001
        uid = datum["stream_resource"]
        resource: Any = self._writer._stream_resource_cache.get(uid)  # noqa: SLF001
        stream: Any = self._writer._desc_nodes[datum["descriptor"]]  # noqa: SLF001
        if resource is None:
            return False  # upstream says what is wrong
        name = f"{stream.item['id']}_{resource['data_key']}"
        if uid in nodes or name in nodes:
            return False
        consolidator = consolidator_factory(resource, stream.metadata)
        consolidator.consume_stream_datum(cast("Any", datum))
        source = consolidator.get_data_source()
        node = stream.new(
            key=consolidator.data_key,
            structure_family=source.structure_family,
            data_sources=[source],
            metadata={},
            specs=[],
            access_tags=self._writer.access_tags,
        )
        consolidators[uid] = consolidators[name] = consolidator
        nodes[uid] = nodes[name] = node
        return True

    def _leave_out_empty(self, rows: list[dict[str, Any]]) -> None:
        """Take arrays that are declared empty out: neither arrays nor tables can hold them."""
        for key, data_key in self._writer.data_keys.items():
            if 0 in data_key["shape"] and not any(np.size(row.get(key, ())) for row in rows):
                for row in rows:
                    row.pop(key, None)

    def _say_dtypes(self, stream: str, rows: list[dict[str, Any]]) -> None:
        """State the dtypes that a descriptor left out; upstream would make all of them float64.

        The first batch decides, as the array is made with it.
        """
        found = {}
        for key in self._unsaid.pop(stream, ()):
            values = [row[key] for row in rows if key in row]
            if values and all(isinstance(value, np.ndarray) for value in values):
                dtype = np.result_type(*values)
                if dtype.kind in "biufc":
                    stated = cast("dict[str, Any]", self._writer.data_keys[key])
                    found[key] = stated | {"dtype_numpy": dtype.str}
        if found:
            data_keys: Any = self._writer.data_keys
            data_keys.update(found)
            node = cast("Any", self._writer._desc_nodes[stream])  # noqa: SLF001
            stored = {**node.metadata["data_keys"], **found}
            node.update_metadata({"data_keys": stored}, drop_revision=True)

    def _note(self, name: str, doc: Mapping[str, Any]) -> None:
        """Keep what the catalogue does not: where each frame of each file belongs."""
        if name == "stream_resource":
            # Those of before event-model 1.20 have other keys; they are put in order upstream.
            if doc.keys() >= ASSET_KEYS:
                asset = {key: doc[key] for key in ASSET_KEYS}
                self._assets[doc["uid"]] = asset | {"ranges": []}
            return
        indices, seq_nums = doc["indices"], doc["seq_nums"]
        new = [indices["start"], indices["stop"], seq_nums["start"], seq_nums["stop"]]
        asset = self._assets.get(doc["stream_resource"], {"ranges": []})
        asset["descriptor"] = doc["descriptor"]
        ranges = asset["ranges"]
        if ranges and ranges[-1][1] == new[0] and ranges[-1][3] == new[2]:
            ranges[-1][1], ranges[-1][3] = new[1], new[3]
        else:
            ranges.append(new)

    def _write_assets(self) -> None:
        assets = {uid: asset for uid, asset in self._assets.items() if asset["ranges"]}
        if assets and self._writer.root_node is not None:
            self._writer.root_node.update_metadata({ASSETS_KEY: assets}, drop_revision=True)


def _unsaid(descriptor: Mapping[str, Any]) -> set[str]:
    """Return the keys of a stream's arrays, kept in events, whose dtype is not stated."""
    return {
        key
        for key, data_key in descriptor["data_keys"].items()
        if data_key["dtype"] == "array"
        and not data_key.get("external")
        and not {"dtype_numpy", "dtype_str", "dtype_descr"} & data_key.keys()
    }


def _is_plain(descriptor: Mapping[str, Any]) -> bool:
    """Say whether the events of a stream need no normalising: nothing renamed, no datum ids."""
    return not any(
        key in {"time", "seq_num"}
        or not str(data_key.get("external") or "STREAM:").startswith("STREAM:")
        for key, data_key in descriptor["data_keys"].items()
    )
