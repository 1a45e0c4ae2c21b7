import pytest

from flyback.profiles.compose import make_devices
from flyback.profiles.registry import PluginError, SettingError, load, plugins
from flyback.profiles.schema import ProfileError, parse_profile, read_profile


@pytest.mark.parametrize("name", ["sim_microscope", "recorded"])
def test_built_in_profiles_are_well_formed(name):
    profile = read_profile(name)
    assert profile.description
    assert set(profile.analyses) >= {"virtual_images", "ptychography"}


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({"device": {}}, r"no section 'device'; did you mean 'devices'"),
        ({"store": {"url": "x"}}, r"\[store\]: there is no key 'url'; did you mean 'uri'"),
        ({"devices": {"camera": {"pixels": 3}}}, r"\[devices.camera\] needs plugin"),
        ({"analyses": 3}, r"\[analyses\] must be a table"),
        ({"plans": {"only": []}}, r"no key 'only'"),
    ],
)
def test_what_a_profile_says_wrong_is_said(table, sentence):
    with pytest.raises(ProfileError, match=sentence):
        parse_profile("p", table)


def test_files_that_are_no_profiles(tmp_path):
    with pytest.raises(PluginError, match="no profile 'sim_microscop'; did you mean"):
        read_profile("sim_microscop")
    with pytest.raises(ProfileError, match="cannot be read"):
        read_profile(tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("[profile\n")
    with pytest.raises(ProfileError, match="not valid TOML"):
        read_profile(broken)
    other = tmp_path / "profile.json"
    other.write_text("{}")
    with pytest.raises(ProfileError, match=r"must end in \.toml"):
        read_profile(other)


def test_a_file_is_read_like_a_plugin(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('[profile]\ndescription = "mine"\n[analyses.virtual_images]\n')
    assert read_profile(path).name == "mine"


def test_settings_change_a_copy():
    profile = read_profile("sim_microscope")
    changed = profile.with_settings({"ptychography.rpie_alpha": 0.3, "sample": "x"})
    assert changed.analyses["ptychography"]["rpie_alpha"] == 0.3
    assert changed.metadata["sample"] == "x"
    assert "rpie_alpha" not in profile.analyses["ptychography"]


@pytest.mark.parametrize(
    ("devices", "error", "sentence"),
    [
        ({"c": {"plugin": "colum"}}, PluginError, "did you mean 'column'"),
        ({"c": {"plugin": "column", "energy": 3}}, SettingError, "did you mean 'energy_kev'"),
        ({"b": {"plugin": "sim_blanker", "beam": "@beem"}}, ProfileError, "'@beem'"),
        ({"b": {"plugin": "sim_blanker"}}, SettingError, "needs beam"),
        ({"c": {"plugin": "column", "radiation": "light"}}, ProfileError, "'light'"),
        ({"s": {"plugin": "sim_specimen", "cif": "Nonsense"}}, ProfileError, "no structure"),
    ],
)
def test_devices_that_cannot_be_made(devices, error, sentence):
    with pytest.raises(error, match=sentence):
        make_devices(parse_profile("p", {"devices": devices}))


def test_plugins_are_known_by_name():
    assert {"raster", "spiral", "multipass"} <= set(plugins("flyback.plans"))
    with pytest.raises(PluginError, match="no plans plugin 'rastr'; did you mean 'raster'"):
        load("flyback.plans", "rastr")
