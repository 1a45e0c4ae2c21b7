import pytest
from small_microscope import MICROSCOPE

from flyback.profiles.schema import parse_profile


@pytest.fixture(scope="session")
def microscope():
    return parse_profile("small_microscope", MICROSCOPE)
