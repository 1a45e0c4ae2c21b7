"""A network small enough to be written byte by byte: tests need neither torch nor onnx for it.

Frames (n, h, w) are flattened, multiplied by weights (h * w, k), and put through a softmax.
"""

import numpy as np

from flyback.models.domains.card import Card, card_path

CLASSES = ("+x", "-x", "+y", "-y")
DIRECTIONS = {"+x": 0.0, "-x": 180.0, "+y": 90.0, "-y": 270.0}
SIDE = 16
FLOAT, INT = 1, 7


def _varint(value):
    out = b""
    while True:
        out += bytes([value & 127 | (128 if value > 127 else 0)])
        value >>= 7
        if not value:
            return out


def _field(number, value):
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    value = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _value(name, kind, shape):
    sides = [_field(2, s) if isinstance(s, str) else _field(1, s) for s in shape]
    dims = b"".join(_field(1, side) for side in sides)
    tensor = _field(1, kind) + _field(2, dims)
    return _field(1, name) + _field(2, _field(1, tensor))


def _node(kind, inputs, output, **attributes):
    out = b"".join(_field(1, name) for name in inputs) + _field(2, output) + _field(4, kind)
    for name, value in attributes.items():
        out += _field(5, _field(1, name) + _field(3, value) + _field(20, 2))
    return out


def weights_of_sides():
    """Four classes by which side of the frame is brightest; counts of 100 are certain."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    sides = np.stack([x > 2, x < -2, y > 2, y < -2]).reshape(4, -1)
    return (0.1 * sides.T).astype(np.float32)


def network_bytes(weights=None, *, shape=("n", SIDE, SIDE), opset=17, softmax=True, kind=FLOAT):
    weights = weights_of_sides() if weights is None else weights
    raw = weights.astype("<f4").tobytes()
    tensor = b"".join(_field(1, side) for side in weights.shape)
    tensor += _field(2, FLOAT) + _field(8, "weights") + _field(9, raw)
    last = (
        _node("Softmax", ["score"], "out", axis=1) if softmax else _node("Relu", ["score"], "out")
    )
    nodes = []
    start = "frames"
    if kind != FLOAT:
        nodes.append(_node("Cast", ["frames"], "cast", to=FLOAT))
        start = "cast"
    nodes += [
        _node("Flatten", [start], "flat", axis=1),
        _node("MatMul", ["flat", "weights"], "score"),
        last,
    ]
    graph = b"".join(_field(1, node) for node in nodes) + _field(2, "small") + _field(5, tensor)
    graph += _field(11, _value("frames", kind, shape))
    graph += _field(12, _value("out", FLOAT, ("n", weights.shape[1])))
    return _field(1, 8) + _field(7, graph) + _field(8, _field(1, "") + _field(2, opset))


def write_network(path, *, card=None, **changes):
    """Write a network and its card; return its path."""
    path.write_bytes(network_bytes(**changes))
    if card is None:
        card = Card(CLASSES, (SIDE, SIDE), threshold=0.5, directions_deg=DIRECTIONS)
    card_path(path).write_text(card.to_toml(), encoding="utf-8")
    return path


def frames_of(domain, *, counts=100, seed=None, factor=1):
    """Frames whose side number `domain` is bright."""
    weights = weights_of_sides() > 0
    share = weights[:, domain].T.reshape(-1, SIDE, SIDE) / weights[:, 0].sum()
    share = np.repeat(np.repeat(share, factor, 1), factor, 2) / factor**2
    expected = counts * share + 1e-3
    if seed is None:
        return expected.astype(np.float32)
    return np.random.default_rng(seed).poisson(expected).astype(np.uint16)
