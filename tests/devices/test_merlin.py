"""The Merlin against a server nobody here wrote, and against servers that misbehave."""

import socket
import threading
from contextlib import contextmanager

import bluesky.plans as bp
import numpy as np
import pytest
from bluesky.utils import FailedStatus

from flyback.devices.merlin import MerlinDetector, MerlinDriver, MerlinError
from flyback.plans import raster
from flyback.tests.merlin_files import free_ports, header, server, write
from flyback.tests.microscope import microscope

pytestmark = pytest.mark.heavy


def frames_of(depth, count, side=64):
    rng = np.random.default_rng(1)
    return rng.integers(0, 2**depth, (count, side, side)).astype("<u4")


def merlin(folder, ports, **kwargs):
    settings = {"trigger_source": "software", "timeout_s": 60.0, "ring_mb": 8, **kwargs}
    return MerlinDetector(name="merlin", directory=folder, **ports, **settings)


# the server compiles itself for ten seconds before its first frame: test_mib has the other depths
@pytest.mark.parametrize(("kind", "depth"), [("U08", 6), ("U16", 12), ("U32", 24), ("R64", 1)])
def test_a_scan_with_every_depth_and_raw(tmp_path, run_engine, kind, depth):
    RE, documents = run_engine
    frames = frames_of(depth, 36)
    hdr = write(tmp_path, frames, kind, depth, (6, 6))
    scope = microscope(tmp_path, rate="max")
    with server(hdr, "--wait-trigger") as (_, ports):
        camera = merlin(tmp_path, ports)
        RE(raster(camera, scope.scan_coils, fov_nm=3, step_nm=0.5))
    documents.check()
    assert documents.stop["exit_status"] == "success"
    assert np.array_equal(documents.read("merlin_frames"), frames[:, ::-1])
    assert np.array_equal(documents.read("merlin_scan_index"), np.arange(36))
    primary = next(d for d in documents.of("descriptor") if d["name"] == "primary")
    configuration = primary["configuration"]["merlin"]["data"]
    assert configuration["merlin_counter_depth"] == depth
    assert list(configuration["merlin_frame_shape"]) == [64, 64]


def test_a_trigger_by_message_and_garbage_before_it(tmp_path, run_engine):
    RE, documents = run_engine
    frames = frames_of(12, 16)
    hdr = write(tmp_path, frames, "U16", 12, (4, 4))
    scope = microscope(tmp_path)
    with server(hdr, "--wait-trigger", "--garbage") as (_, ports):
        camera = merlin(tmp_path, ports, trigger_source="socket", flip_y=False)
        for _ in range(2):
            documents.all.clear()
            RE(raster(camera, scope.scan_coils, fov_nm=2, step_nm=0.5))
            documents.check()
            assert np.array_equal(documents.read("merlin_frames"), frames)


def test_single_frames_in_a_step_scan(tmp_path, run_engine):
    RE, documents = run_engine
    frames = frames_of(12, 1)
    hdr = write(tmp_path, frames, "U16", 12, (1, 1))
    with server(hdr, "--wait-trigger") as (_, ports):
        RE(bp.count([merlin(tmp_path, ports)], num=3))
    documents.check()
    assert len(documents.of("event")) == 3
    assert np.array_equal(documents.read("merlin_frames"), np.repeat(frames[:, ::-1], 3, axis=0))


def test_a_server_that_dies_fails_the_run_soon(tmp_path, run_engine):
    RE, documents = run_engine
    hdr = write(tmp_path, frames_of(12, 400), "U16", 12, (20, 20))
    scope = microscope(tmp_path)
    with server(hdr, "--wait-trigger", "--dwelltime", "10000") as (process, ports):
        camera = merlin(tmp_path, ports)
        RE.subscribe(lambda *_: process.kill(), "stream_datum")
        with pytest.raises(FailedStatus) as caught:
            RE(raster(camera, scope.scan_coils, fov_nm=4, step_nm=0.2))
    assert "of 400 frames had come" in str(caught.value.__cause__)
    documents.check()
    assert documents.stop["exit_status"] == "fail"
    assert not scope.beam.on


def test_nobody_there_is_said_before_a_run_opens(tmp_path, run_engine):
    RE, documents = run_engine
    (port,) = free_ports(1)
    scope = microscope(tmp_path)
    camera = merlin(tmp_path, {"control_port": port})
    with pytest.raises(MerlinError, match="is the port right"):
        RE(raster(camera, scope.scan_coils, fov_nm=2))
    assert documents.all == []


@contextmanager
def impostor(talk):
    """A server that says what it is told to."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(10)

    def serve():
        with listener:
            link, _ = listener.accept()
            with link:
                talk(link)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        thread.join(10)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "where a message should begin"),
        (b"", "hung up"),
        (b"MPX,0000000028,GET,SOFTWAREVERSION,undef,2", "does not know the command"),
        (b"MPX,0000000006,WHAT?", r"answered 'WHAT\?'"),
    ],
)
def test_a_wrong_server_on_the_control_port_is_found_out(answer, sentence):
    def talk(link):
        link.recv(4096)
        link.sendall(answer)

    with impostor(talk) as port, pytest.raises(MerlinError, match=sentence):
        MerlinDriver("127.0.0.1", port, timeout_s=1.0).connect()


def test_a_mute_server_times_out():
    released = threading.Event()
    with impostor(lambda link: released.wait(10)) as port:
        with pytest.raises(MerlinError, match="did not answer GET SOFTWAREVERSION"):
            MerlinDriver("127.0.0.1", port, timeout_s=0.2).connect()
        released.set()


def message(body):
    return b"MPX,%010d," % (len(body) + 1) + body


@pytest.mark.parametrize(
    ("stream", "sentence"),
    [
        (message(b"HDR,nothing"), "hung up before the first frame"),
        (message(header(1, (64, 64), "U16", 12) + bytes(8192))[:-100], "bytes into a frame"),
        (
            message(header(1, (64, 64), "U16", 12) + bytes(8192)) + b"x" * 9000,
            "out of step|message should begin",
        ),
        (message(b"MQ1,no,header" + bytes(600)), "cannot be read"),
        (message(header(1, (32, 32), "U16", 12) + bytes(2048)), "was announced"),
    ],
)
def test_a_broken_stream_is_told(stream, sentence):
    with impostor(lambda link: link.sendall(stream)) as port:
        driver = MerlinDriver("127.0.0.1", data_port=port, timeout_s=1.0)
        driver.shape = (64, 64)
        from flyback.devices.merlin_link import DataLink

        driver._data = DataLink("127.0.0.1", port, 1.0)
        driver._armed = (4, 0)
        with pytest.raises(MerlinError, match=sentence):
            list(driver.blocks())
        driver.disarm()


def test_settings_are_checked():
    with pytest.raises(ValueError, match="trigger_source"):
        MerlinDriver("127.0.0.1", trigger_source="prayer")
