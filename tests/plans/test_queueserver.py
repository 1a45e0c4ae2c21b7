"""bluesky-queueserver lists every plan and runs one."""

import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager

import pytest

import flyback.plans
from flyback.plans import scanning

profile_ops = pytest.importorskip("bluesky_queueserver.manager.profile_ops")
PLANS = ("raster", "serpentine", "spiral", "multipass", "random", "points")

STARTUP = """
import os
from bluesky import RunEngine
from flyback.plans import *
from flyback.tests.microscope import microscope

RE = RunEngine({})
scope = microscope(os.environ["FLYBACK_TEST_FOLDER"])
camera, scan_coils, blanker = scope.camera, scope.scan_coils, scope.blanker
stops = []


def remember(name, doc):
    if name == "stop":
        with open(os.path.join(os.environ["FLYBACK_TEST_FOLDER"], "stop.txt"), "w") as file:
            file.write(doc["exit_status"] + " " + str(doc["num_events"]))


RE.subscribe(remember)
"""

PERMISSIONS = """
user_groups:
  root:
    allowed_plans: [null]
    forbidden_plans: [":^_"]
    allowed_devices: [null]
    forbidden_devices: [":^_:?.*"]
    allowed_functions: [null]
    forbidden_functions: [":^_"]
  primary:
    allowed_plans: [":.*"]
    forbidden_plans: [null]
    allowed_devices: [":?.*:depth=5"]
    forbidden_devices: [null]
    allowed_functions: [":.*"]
"""


def test_every_plan_is_listed_with_its_parameters(scope):
    namespace = {name: getattr(flyback.plans, name) for name in flyback.plans.__all__}
    namespace |= {"camera": scope.camera, "scan_coils": scope.scan_coils}
    found = profile_ops.existing_plans_and_devices_from_nspace(nspace=namespace)
    plans, devices = found[:2]
    assert set(PLANS) <= set(plans)
    assert {"camera", "scan_coils"} <= set(devices)
    for name in PLANS:
        parameters = {p["name"]: p for p in plans[name]["parameters"]}
        assert parameters["detectors"]["convert_device_names"]
        assert parameters["scan_coils"]["convert_device_names"]
        for parameter in parameters.values():
            assert "annotation" in parameter, (name, parameter)
            if "default" in parameter:
                json.dumps(parameter["default"])
    json.dumps(plans)


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_takes_arguments_that_came_as_json(name, scope):
    namespace = {name: getattr(scanning, name)}
    namespace |= {"camera": scope.camera, "scan_coils": scope.scan_coils}
    plans, devices, *_ = profile_ops.existing_plans_and_devices_from_nspace(nspace=namespace)
    more = {"positions": [[0.0, 1.0]]} if name == "points" else {"fov_nm": 4.0, "step_nm": 0.5}
    item = {
        "name": name,
        "item_type": "plan",
        "user_group": "root",
        "args": [["camera"], "scan_coils"],
        "kwargs": {**more, "dwell_ms": 1, "md": {"operator": "queue"}},
    }
    ok, message = profile_ops.validate_plan(item, allowed_plans=plans, allowed_devices=devices)
    assert ok, message


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def _process(arguments, log, **kwargs):
    with log.open("wb") as out:
        process = subprocess.Popen(arguments, stdout=out, stderr=subprocess.STDOUT, **kwargs)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(20)


def _until(condition, process, log, limit_s=90):
    deadline = time.monotonic() + limit_s
    while not condition():
        assert process.poll() is None, log.read_text(errors="replace")[-4000:]
        assert time.monotonic() < deadline, log.read_text(errors="replace")[-4000:]
        time.sleep(0.1)  # another process: there is nothing to wait on but its answers


def _answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
    except OSError:
        return False
    return True


@pytest.mark.heavy
def test_the_manager_runs_a_plan(tmp_path):
    server = shutil.which("redis-server")
    if server is None:
        pytest.skip("there is no redis-server on this machine")
    import zmq

    redis_port, control, info = (_free_port() for _ in range(3))
    (tmp_path / "startup.py").write_text(textwrap.dedent(STARTUP))
    (tmp_path / "permissions.yaml").write_text(PERMISSIONS)
    environment = {**os.environ, "FLYBACK_TEST_FOLDER": str(tmp_path)}
    redis_log, manager_log = tmp_path / "redis.log", tmp_path / "manager.log"
    redis = [server, "--port", str(redis_port), "--bind", "127.0.0.1", "--save", ""]
    manager = [
        sys.executable,
        "-c",
        "from bluesky_queueserver.manager.start_manager import start_manager; start_manager()",
        f"--zmq-control-addr=tcp://127.0.0.1:{control}",
        f"--zmq-info-addr=tcp://127.0.0.1:{info}",
        f"--redis-addr=127.0.0.1:{redis_port}",
        f"--startup-script={tmp_path / 'startup.py'}",
        f"--user-group-permissions={tmp_path / 'permissions.yaml'}",
        f"--existing-plans-devices={tmp_path / 'existing.yaml'}",
        "--console-output=ON",
    ]

    def ask(method, **params):
        with zmq.Context() as context, context.socket(zmq.REQ) as link:
            link.linger = 0
            link.connect(f"tcp://127.0.0.1:{control}")
            link.send_json({"method": method, "params": params})
            return link.recv_json() if link.poll(2000) else {}

    with _process([*redis, "--dir", str(tmp_path)], redis_log) as database:
        _until(lambda: _answers(redis_port), database, redis_log)
        with _process(manager, manager_log, env=environment, cwd=tmp_path) as process:

            def until(condition):
                _until(condition, process, manager_log)

            until(lambda: ask("status").get("manager_state") == "idle")
            assert ask("environment_open")["success"]
            until(lambda: ask("status").get("worker_environment_exists"))
            until(lambda: ask("status").get("manager_state") == "idle")
            listed = ask("plans_allowed", user_group="primary")["plans_allowed"]
            assert set(PLANS) <= set(listed)
            item = {
                "item_type": "plan",
                "name": "spiral",
                "args": [["camera"], "scan_coils"],
                "kwargs": {"kind": "fermat", "fov_nm": 3.0, "step_nm": 0.5},
            }
            added = ask("queue_item_add", item=item, user="tester", user_group="primary")
            assert added["success"], added
            assert ask("queue_start")["success"]
            until(lambda: len(ask("history_get").get("items", [])) == 1)
            (done,) = ask("history_get")["items"]
            assert done["result"]["exit_status"] == "completed", done["result"]
            until(lambda: ask("status").get("manager_state") == "idle")
            ask("environment_close")
            until(lambda: not ask("status").get("worker_environment_exists"))
            ask("manager_stop")
    assert (tmp_path / "stop.txt").read_text().startswith("success")
