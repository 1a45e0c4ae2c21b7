"""A cell's samples at the times of frames, however their documents were cut."""

import numpy as np
import pytest
from event_model import compose_run
from hypothesis import given, settings
from hypothesis import strategies as st

from flyback.callbacks.cell_history import cell_history
from flyback.callbacks.cell_samples import CellSamples
from flyback.models.base import Quantity

N = 40
TIME = 1e9 + np.arange(N) * 0.5
VOLTAGE = np.linspace(3.0, 2.0, N)
STEP = np.arange(N) // 10


def key(dtype="number"):
    return {"source": "test", "dtype": dtype, "shape": []}


def documents(pages):
    """The cell's samples as events, or as pages of so many."""
    run = compose_run()
    names = ("cell_voltage_v", "cell_current_ma", "cell_capacity_mah", "cell_step_count")
    bundle = run.compose_descriptor(name="cell", data_keys={name: key() for name in names})
    docs = [("start", run.start_doc), ("descriptor", bundle.descriptor_doc)]
    rows = {
        "cell_voltage_v": VOLTAGE,
        "cell_current_ma": np.full(N, -0.1),
        "cell_capacity_mah": np.arange(N) * -0.1 * 0.5 / 3600,
        "cell_step_count": STEP,
    }
    first = 0
    for length in [*pages, N]:
        part = slice(first, min(first + length, N))
        first = part.stop
        if part.start >= part.stop:
            continue
        page = bundle.compose_event_page(
            data={name: values[part].tolist() for name, values in rows.items()},
            timestamps={name: TIME[part].tolist() for name in rows},
            seq_num=list(range(part.start + 1, part.stop + 1)),
            time=TIME[part].tolist(),
        )
        docs.append(("event_page", page))
    return docs


def collected(docs):
    samples = CellSamples()
    for name, doc in docs:
        samples(name, doc)
    return samples


@settings(max_examples=30, deadline=None)
@given(pages=st.lists(st.integers(1, N), max_size=5))
def test_values_do_not_depend_on_how_the_documents_were_cut(pages):
    times = TIME[0] + np.array([0.0, 0.25, 7.3, 19.5])
    whole, cut = collected(documents([])).at(times), collected(documents(pages)).at(times)
    assert len(collected(documents(pages))) == N
    for name, values in whole.items():
        np.testing.assert_array_equal(cut[name], values)


def test_values_lie_between_the_samples_and_counts_are_those_of_the_one_before():
    samples = collected(documents([7, 7]))
    assert samples.device == "cell"
    found = samples.at(np.array([TIME[4] + 0.25, TIME[9] + 0.4, TIME[10]]))
    assert found["voltage_v"][0] == pytest.approx((VOLTAGE[4] + VOLTAGE[5]) / 2)
    np.testing.assert_array_equal(found["step_count"], [0, 0, 1])
    np.testing.assert_allclose(found["current_ma"], -0.1)


def test_outside_the_log_and_in_its_gaps_there_is_nothing():
    docs = documents([])
    page = dict(docs[-1][1])
    keep = np.r_[0:15, 30:N]
    page["time"] = [page["time"][i] for i in keep]
    page["data"] = {name: [column[i] for i in keep] for name, column in page["data"].items()}
    samples = collected([*docs[:-1], ("event_page", page)])
    times = np.array([TIME[0] - 0.01, TIME[0], TIME[20], TIME[35], TIME[-1] + 0.01])
    np.testing.assert_array_equal(
        np.isnan(samples.at(times)["voltage_v"]), [True, False, True, False, True]
    )


def test_a_run_without_a_cell_has_no_samples():
    assert CellSamples().at(np.array([1.0])) == {}


def test_one_sample_is_known_at_its_time_only():
    docs = documents([1])[:3]
    found = collected(docs).at(np.array([TIME[0], TIME[0] + 1]))
    np.testing.assert_array_equal(np.isnan(found["voltage_v"]), [False, True])


def test_a_result_of_frames_gets_what_the_cell_showed_and_says_where_it_showed_nothing():
    times = np.array([TIME[2], TIME[-1] + 5])
    result = {"time_s": Quantity(times, "s", ("frame",)), "flags": Quantity(["x"], "", ("flag",))}
    joined = collected(documents([])).beside(result)
    np.testing.assert_array_equal(joined["voltage_v"].value, [VOLTAGE[2], np.nan])
    assert (joined["voltage_v"].units, joined["voltage_v"].dims) == ("V", ("frame",))
    assert joined["flags"].value == ["x", "1 of 2 frames have no sample of the cell"]
    assert CellSamples().beside(result) == result


class Kept:
    """A publisher that keeps the final result."""

    def due(self):
        return False

    def finish(self, final):
        self.final = final


def test_an_analysis_of_the_cell_needs_no_detector():
    kept = Kept()
    docs = documents([7, 11])
    callback = cell_history(docs[0][1], lambda: kept, thickness_nm=100.0)
    for name, doc in [*docs, ("stop", {"run_start": docs[0][1]["uid"]})]:
        callback(name, doc)
    assert callback.error is None
    np.testing.assert_array_equal(kept.final["voltage_v"].value, VOLTAGE)
    assert kept.final["charge_mah"].value[-1] == pytest.approx(-0.1 * (N - 1) * 0.5 / 3600)
    assert kept.final["lithium_per_platinum"].value[-1] > 0


def test_a_wrong_setting_is_said_before_the_run():
    with pytest.raises(ValueError, match="thickness_nm"):
        cell_history({"uid": "x"}, Kept, thickness_nm=-1.0)


def test_a_sample_has_the_time_when_it_was_taken_and_the_baseline_is_no_sample():
    run = compose_run()
    keys = {name: key() for name in ("cell_voltage_v", "cell_current_ma", "cell_utc_s")}
    docs = []
    for stream in ("baseline", "primary", "cell"):
        bundle = run.compose_descriptor(name=stream, data_keys=keys)
        docs.append(("descriptor", bundle.descriptor_doc))
        data = {"cell_voltage_v": [2.0], "cell_current_ma": [0.0], "cell_utc_s": [TIME[3]]}
        stamps = {name: [TIME[9]] for name in keys}
        page = bundle.compose_event_page(data=data, timestamps=stamps, seq_num=[1], time=[TIME[9]])
        docs.append(("event_page", page))
    samples = collected(docs)
    assert len(samples) == 1
    assert samples.at(np.array([TIME[3]]))["voltage_v"] == [2.0]
    assert collected(docs[:2]).at(np.array([TIME[3]])) == {}
