"""What an analysis comes to is published whole."""

import numpy as np

from flyback.callbacks.publish import Publisher
from flyback.models.base import Quantity


def test_arrays_with_nothing_in_them_are_left_out(tmp_path):
    docs = []
    publisher = Publisher(
        lambda name, doc: docs.append((name, doc)),
        tmp_path,
        analysis="cell_history",
        parent={"uid": "raw"},
        parameters={},
    )
    publisher.finish(
        {
            "voltage_v": Quantity(np.arange(3.0), "V", ("sample",)),
            "peak_voltage_v": Quantity(np.zeros(0), "V", ("peak",)),
            "flags": Quantity([], "", ("flag",)),
        }
    )
    keys = [doc["data_key"] for name, doc in docs if name == "stream_resource"]
    assert keys == ["voltage_v"]
    assert docs[-1][1]["exit_status"] == "success"
