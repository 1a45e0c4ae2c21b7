"""The chunk law, for any model: a result may not depend on how frames were batched."""

import itertools

import numpy as np


def values(model):
    return {name: quantity.value for name, quantity in model.result_.items()}


def assert_same(one, other, relative=0.0):
    assert one.keys() == other.keys()
    for name, value in one.items():
        if isinstance(value, (str, bool, list)):
            assert value == other[name], name
        elif relative == 0:
            np.testing.assert_array_equal(value, other[name], err_msg=name)
        else:
            sizes = np.abs(np.asarray(value, complex))
            scale = float(sizes[np.isfinite(sizes)].max(initial=1e-300))
            np.testing.assert_allclose(
                other[name], value, rtol=0, atol=relative * scale, err_msg=name
            )


def batches(batch, cuts):
    edges = [0, *sorted(cuts), len(batch)]
    return [batch[a:b] for a, b in itertools.pairwise(edges) if b > a]


def check(make, batch, *, final=False, relative=0.0, singles=True, merge=True, seed=0):
    """Feed `batch` whole, in random pieces, frame by frame, out of order and by merging.

    Parameters
    ----------
    make : callable
        Returns a new model.
    batch : Batch
    final : bool
        Compare after `converge`.
    relative : float
        0 asks for equality bit for bit, else relative to the largest value.
    """
    rng = np.random.default_rng(seed)

    def result(models):
        merged = models[0]
        for model in models[1:]:
            merged = merged.merge(model)
        return values(merged.converge() if final else merged)

    def fed(parts):
        model = make()
        for part in parts:
            model.partial_fit(part)
        return model

    whole = result([fed([batch])])
    pieces = batches(batch, rng.choice(np.arange(1, len(batch)), size=5, replace=False))
    assert_same(whole, result([fed(pieces)]), relative)
    if singles:
        assert_same(whole, result([fed(batches(batch, range(1, len(batch))))]), relative)
    if merge:
        assert_same(whole, result([fed(pieces[:2]), fed(pieces[2:])]), relative)
        shuffled = [pieces[k] for k in rng.permutation(len(pieces))]
        assert_same(whole, result([fed(shuffled[:3]), make(), fed(shuffled[3:])]), relative)
    return whole
