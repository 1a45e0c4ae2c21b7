import pytest

from flyback.models.domains.card import Card, CardError, card_path, read_card

GOOD = Card(
    ("a", "b"), (8, 8), threshold=0.4, directions_deg={"a": 0.0}, remake='say "so"\nagain \\'
)


def test_a_card_reads_back(tmp_path):
    network = tmp_path / "n.onnx"
    card_path(network).write_text(GOOD.to_toml(), encoding="utf-8")
    assert read_card(network) == GOOD


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('classes = ["a", "b"]', 'classes = ["a", "a"]', "two or more different names"),
        ('classes = ["a", "b"]', "", "needs classes"),
        ("input_shape = [8, 8]", "input_shape = [8]", r"must be \[h, w\]"),
        ("threshold = 0.4", "threshold = 4", "between 0 and 1"),
        ("threshold = 0.4", 'threshold = "high"', "wrong type"),
        ("threshold = 0.4", "treshold = 0.4", "unknown key 'treshold'"),
        ("opset = 17", "opset = 3", "opset must lie between"),
        ('"a" = 0.0', '"z" = 0.0', "'z', which is no class"),
        ("threshold = 0.4", "threshold =", "is no TOML"),
    ],
)
def test_a_bad_card_is_one_sentence(tmp_path, old, new, says):
    network = tmp_path / "n.onnx"
    text = GOOD.to_toml()
    assert old in text
    card_path(network).write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(CardError, match=says):
        read_card(network)
