"""Coils, blanker, column and monitors."""

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.protocols as protocols
import numpy as np
import pytest
from ophyd.utils import LimitError, ReadOnlyError

from flyback.devices.monitors import BeamCurrent, Temperature
from flyback.devices.sim.coils import lagging
from flyback.devices.sim.monitors import SimBeamCurrent, SimTemperature
from flyback.models.trajectories import Raster, TrajectoryError
from flyback.tests.microscope import microscope


def test_protocols(scope):
    coils, camera, blanker = scope.scan_coils, scope.camera, scope.blanker
    for device in (coils, camera):
        for protocol in (
            protocols.Readable,
            protocols.Flyable,
            protocols.Preparable,
            protocols.Collectable,
            protocols.WritesStreamAssets,
            protocols.Stageable,
            protocols.Pausable,
            protocols.Stoppable,
            protocols.Configurable,
            protocols.HasHints,
        ):
            assert isinstance(device, protocol), (device, protocol)
    assert isinstance(camera, protocols.Triggerable)
    assert isinstance(coils.y, protocols.NamedMovable)
    assert isinstance(coils.y, protocols.Checkable)
    assert isinstance(blanker, protocols.Locatable)
    assert isinstance(blanker, protocols.Stoppable)
    monitor = SimBeamCurrent(name="current", beam=scope.beam)
    assert isinstance(monitor.current_pa, protocols.Subscribable)


def test_readings_agree_with_their_descriptions(scope):
    monitor = SimBeamCurrent(name="current", beam=scope.beam)
    for device in (scope.scan_coils, scope.blanker, scope.column, monitor, scope.specimen):
        assert set(device.read()) == set(device.describe())
        assert set(device.read_configuration()) == set(device.describe_configuration())
        for key in (*device.describe().values(), *device.describe_configuration().values()):
            if key["dtype"] in ("number", "integer"):
                assert key["dtype_numpy"] in ("<f8", "<i8"), key
                assert "units" in key, key
        assert set(device.hints.get("fields", [])) <= set(device.describe())


def test_the_axes_have_limits_and_units(scope):
    coils = scope.scan_coils
    key = coils.y.describe()["scan_coils_y"]
    assert key["units"] == "nm"
    assert key["limits"]["control"] == {"low": -3.0, "high": 3.0}
    with pytest.raises(LimitError):
        coils.x.set(4.0)
    coils.x.set(-2.0).wait(1)
    assert scope.beam.parked_nm.tolist() == [0.0, -2.0]


def test_a_step_scan_pairs_frames_with_places(scope, run_engine):
    RE, documents = run_engine
    coils, camera = scope.scan_coils, scope.camera

    def plan():
        yield from bps.mv(scope.blanker, "open")
        yield from bp.grid_scan([camera], coils.y, -1, 1, 3, coils.x, -1, 1, 2)

    RE(plan())
    documents.check()
    events = documents.of("event")
    assert [(e["data"]["scan_coils_y"], e["data"]["scan_coils_x"]) for e in events] == [
        (y, x) for y in (-1.0, 0.0, 1.0) for x in (-1.0, 1.0)
    ]
    data = documents.data(documents.resource("camera_frames"))
    assert [d["seq_nums"]["start"] for d in data] == list(range(1, 7))
    assert documents.read("camera_frames").sum(axis=(1, 2)).min() > 1000
    assert not scope.beam.on


def test_counting_the_coils_alone_is_an_ordinary_reading(scope, run_engine):
    RE, documents = run_engine
    RE(bp.count([scope.scan_coils, scope.blanker], num=2))
    documents.check()
    assert documents.of("event")[0]["data"]["blanker"] == "closed"


@pytest.mark.parametrize(
    ("trajectory", "error", "sentence"),
    [
        (Raster(fov=10, step=1), LimitError, "limited to 3 nm; make the field smaller"),
        (Raster(fov=1, step=0.5, center=(0, 2.9)), LimitError, "move its centre"),
        (Raster(fov=1, step=0.5, units="px"), TrajectoryError, "give it in nm"),
        ({"type": "circle"}, TrajectoryError, "known are"),
    ],
)
def test_what_the_coils_cannot_follow_is_refused_before_anything_moves(
    scope, trajectory, error, sentence
):
    with pytest.raises(error, match=sentence):
        scope.scan_coils.prepare(trajectory)
    assert scope.beam.clock.runs == 0


def test_coils_say_what_must_come_first(scope, tmp_path):
    coils = scope.scan_coils
    with pytest.raises(RuntimeError, match="prepare it"):
        coils.kickoff()
    with pytest.raises(RuntimeError, match="not kicked off"):
        coils.complete()
    coils.prepare(Raster(fov=1, step=0.5)).wait(1)
    coils.directory = None
    with pytest.raises(RuntimeError, match=r"set scan_coils\.directory"):
        coils.kickoff()


def test_stop_and_unstage_leave_the_beam_blanked(tmp_path):
    scope = microscope(tmp_path, rate="real")
    scope.scan_coils.stage()
    for end in (scope.scan_coils.stop, scope.scan_coils.unstage):
        scope.blanker.set("open").wait(1)
        scope.scan_coils.prepare({"trajectory": Raster(fov=2, step=0.1), "dwell_ms": 100.0}).wait(1)
        scope.scan_coils.kickoff().wait(5)
        done = scope.scan_coils.complete()
        end()
        done.wait(5)
        assert scope.blanker.position == "closed"
        assert not scope.beam.on
    assert scope.scan_coils.get_index() == 0


def test_the_lag_is_of_first_order():
    jump = np.zeros((6, 2))
    jump[:, 0] = 1.0
    real = lagging(jump, np.zeros(2), 1.0, 0.5)
    times = np.arange(6)
    expected = 1 - 0.5 * (np.exp(-2.0 * times) - np.exp(-2.0 * (times + 1)))
    np.testing.assert_allclose(real[:, 0], expected)
    assert np.array_equal(lagging(jump, np.zeros(2), 1.0, 0.0), jump)


def test_the_blanker_blanks_whatever_stops_it(scope):
    blanker = scope.blanker
    held = []
    blanker.before_blanking.append(lambda: held.append(scope.beam.on))
    blanker.set("open").wait(1)
    assert scope.beam.on
    blanker.stop()
    assert not scope.beam.on
    assert held == [True]
    blanker.resume()
    assert not scope.beam.on, "a stop without a pause is final"
    blanker.set("open").wait(1)
    blanker.stop(success=True)
    blanker.pause()
    blanker.resume()
    assert scope.beam.on, "a pause opens again"
    blanker.unstage()
    assert blanker.locate() == {"setpoint": "closed", "readback": "closed"}
    with pytest.raises(ValueError, match="'open' or 'closed'"):
        blanker.set("half")


def test_the_column_gives_flat_metadata(scope):
    column = scope.column
    assert column.metadata()["energy_kev"] == 300.0
    column.beam_current_pa.put(0.0)
    assert "beam_current_pa" not in column.metadata()
    with pytest.raises(LimitError, match=r"outside 0\.01 to 10000 keV"):
        column.energy_kev.put(-1.0)
    with pytest.raises(ValueError, match="'electron' or 'xray'"):
        type(column)(name="c", radiation="neutron")


def test_monitors_report_and_cannot_be_set(scope):
    current, temperature = BeamCurrent(name="i"), Temperature(name="t", temperature_k=90.0)
    seen = []
    current.current_pa.subscribe(lambda value, **_: seen.append(value), run=False)
    current.current_pa.report(12.0)
    assert current.read()["i_current_pa"]["value"] == 12.0
    assert temperature.read()["t_temperature_k"]["value"] == 90.0
    with pytest.raises(ReadOnlyError):
        current.current_pa.put(3.0)


def test_simulated_monitors_repeat_with_the_seed(scope):
    def readings():
        current = SimBeamCurrent(name="i", beam=scope.beam)
        temperature = SimTemperature(name="t", seed=3)
        out = []
        for _ in range(5):
            for device in (current, temperature):
                device.trigger().wait(1)
                out += [reading["value"] for reading in device.read().values()]
        return out

    scope.blanker.set("open").wait(1)
    first = readings()
    assert first == readings()
    assert first[0] == pytest.approx(5.0, rel=0.1)
    scope.blanker.set("closed").wait(1)
    assert readings()[0] == 0.0


def test_a_monitored_run_has_its_stream(scope, run_engine):
    RE, documents = run_engine
    current = SimBeamCurrent(name="current", beam=scope.beam)
    import bluesky.preprocessors as bpp

    RE(bpp.monitor_during_wrapper(bp.count([scope.scan_coils]), [current.current_pa]))
    documents.check()
    assert {d["name"] for d in documents.of("descriptor")} == {
        "primary",
        "current_current_pa_monitor",
    }
