"""conftest.py - the lab that end-to-end tests share, and the tiers they run through"""
import functools
import json
import os
import signal
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))
import lab as lab_module  # noqa: E402
import pace  # noqa: E402

# What a shell's background and nohup ignore would be ignored by every program below.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@functools.cache
def tiers():
    """The tiers that work here, as the program itself says; APPTAP_TIERS overrides."""
    if os.environ.get("APPTAP_TIERS"):
        return os.environ["APPTAP_TIERS"].split(",")
    try:
        done = subprocess.run([lab_module.APPTAP, "--probe", "--local", "--json"],
                      capture_output=True, text=True, timeout=lab_module.WAIT)
        found = [t["name"] for t in json.loads(done.stdout)["tiers"] if t.get("works", t.get("ok"))]
        return found or ["sockdiag"]
    except (OSError, ValueError, KeyError, TypeError, subprocess.TimeoutExpired):
        return ["sockdiag"]


def pytest_generate_tests(metafunc):
    if "tier" in metafunc.fixturenames and "rules" not in metafunc.fixturenames:
        other = getattr(metafunc.module, "NOT_THROUGH", ())	# tiers that promise otherwise
        if not os.environ.get("APPTAP_ALL"):	# or that have more leisure there: their time is for the others
            other += getattr(metafunc.module, "AT_LEISURE", ())
        metafunc.parametrize("tier", [t for t in tiers() if t not in other])


def pytest_configure(config):
    config.addinivalue_line("markers", "at_leisure: takes its time; only with APPTAP_ALL=1")


def pytest_collection_modifyitems(config, items):
    if os.environ.get("APPTAP_ALL"):
        return
    later = [i for i in items if i.get_closest_marker("at_leisure")]
    config.hook.pytest_deselected(items=later)
    items[:] = [i for i in items if i not in later]


@pytest.fixture(autouse=True)
def gives_way():
    with pace.beside():
        yield


def open_lab():
    reason = lab_module.why_not()
    if reason:
        pytest.skip(reason)
    return lab_module.Lab()


@pytest.fixture(scope="session")
def shared_lab():
    with open_lab() as lab:
        yield lab


@pytest.fixture
def lab(shared_lab):
    yield shared_lab
    shared_lab.clear()


@pytest.fixture
def fresh_lab():
    """For what the thousands of connections in TIME_WAIT would disturb that churn leaves behind."""
    with open_lab() as lab:
        yield lab


@pytest.fixture
def need_apptap():
    if not os.access(lab_module.APPTAP, os.X_OK):
        pytest.skip("needs the program: ./dev build")
