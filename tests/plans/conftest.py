"""Fixtures for plans."""

import pytest

from flyback.tests.microscope import close_engine, engine, microscope, no_threads_left


@pytest.fixture(autouse=True)
def _no_threads_left():
    with no_threads_left():
        yield


@pytest.fixture
def run_engine(_no_threads_left):
    RE, documents = engine()
    yield RE, documents
    close_engine(RE)


@pytest.fixture
def scope(tmp_path):
    return microscope(tmp_path)
