import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyback.profiles.registry import SettingError, check_table, unknown
from flyback.profiles.settings import parse_setting, parse_settings


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=1", 1),
        ("a=0.5", 0.5),
        ("a=true", True),
        ("a=True", True),
        ("a=word", "word"),
        ('a="two words"', "two words"),
        ("a=A.cif,B.cif", ["A.cif", "B.cif"]),
        ("a=1,2.5", [1, 2.5]),
        ("a=[1, 2]", [1, 2]),
        ("a=C:\\data\\x", "C:\\data\\x"),
        ("a=1\nb=2", "1\nb=2"),
        ("a=", ""),
    ],
)
def test_values_are_read_as_people_type_them(text, value):
    assert parse_setting(text) == ("a", value)


@pytest.mark.parametrize("text", ["", "a", "=3", "  = 3"])
def test_what_is_no_setting_is_said(text):
    with pytest.raises(SettingError, match="KEY=VALUE"):
        parse_setting(text)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_round_trip(value):
    assert parse_setting(f"x={value!r}")[1] == value


@given(st.text())
def test_any_text_parses_or_says_why(text):
    key, equals, _ = text.partition("=")
    if equals and key.strip():
        assert list(parse_settings([text])) == [key.strip()]
    else:
        with pytest.raises(SettingError, match="KEY=VALUE"):
            parse_settings([text])


def test_unknown_names_suggest_the_nearest():
    assert "did you mean 'raster'" in unknown("plan", "rastr", ["raster", "spiral"])
    assert "known: none" in unknown("plan", "x", [])


def test_tables_are_checked_against_the_signature():
    def factory(start, publisher, *, method="auto", alpha=0.1):
        return None

    check_table(factory, {"alpha": 2}, what="the analysis 'x'", given=2)
    with pytest.raises(SettingError, match=r"no setting of the analysis 'x' 'alfa'.*'alpha'"):
        check_table(factory, {"alfa": 2}, what="the analysis 'x'", given=2)

    def needy(start, publisher, *, poni):
        return None

    with pytest.raises(SettingError, match="needs poni"):
        check_table(needy, {}, what="the analysis 'x'", given=2)
