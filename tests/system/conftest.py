import pytest

from flyback.profiles.schema import parse_profile
from flyback.tests.small_microscope import MICROSCOPE


@pytest.fixture(scope="session")
def microscope():
    return parse_profile("small_microscope", MICROSCOPE)
