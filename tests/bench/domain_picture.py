"""Maps of domains beside the truth, for docs/domains.md.

    python -m flyback.tests.bench.domain_picture FILE.png

The field and the specimens of `follow_walls`: a raster of 2 nm, positions that follow the walls
with as many frames, the most probable class's probability; boracite by a raster of 1.25 nm.
"""

import sys

import numpy as np
from matplotlib.figure import Figure

from flyback.callbacks.plots import draw_image
from flyback.models.base import Quantity
from flyback.models.domains.classifier import Classifier, find
from flyback.models.domains.domain_map import DomainMap
from flyback.tests.bench.follow_walls import (
    COARSE_NM,
    FIELD_NM,
    FINE_NM,
    ROUND,
    Specimen,
    experiment,
    raster,
    take,
)

FIVE = ("+x", "-x", "+y", "-y", "+z")
SIX = ("+x", "-x", "+z", "+y", "-y", "-z")


def truth_picture(specimen, classes):
    """The true classes on the fine raster, drawn as a result is."""
    side = round(len(specimen.fine) ** 0.5)
    label = np.array([classes.index(name) for name in specimen.truth], float)
    return {
        "domain_image": Quantity(label.reshape(side, side), "", ("y", "x")),
        "classes": Quantity(list(classes), "", ("class",)),
        "image_pixel_m": Quantity(np.full(2, FINE_NM * 1e-9), "m", ("yx",)),
        "image_origin_m": Quantity(specimen.fine[0] * 1e-9, "m", ("yx",)),
    }


def by_raster(specimen, classifier, step_nm):
    model = DomainMap(experiment(), classifier)
    take(model, specimen, raster(step_nm), 0)
    return model


def by_following(specimen, classifier, most):
    model = DomainMap(experiment(), classifier)
    take(model, specimen, raster(COARSE_NM), 0)
    done = len(raster(COARSE_NM))
    while done < most:
        positions_m, _ = model.next_positions(min(ROUND, most - done), seed=done)
        take(model, specimen, positions_m * 1e9, done)
        done += len(positions_m)
    return model


def main():
    figure = Figure(figsize=(11, 6.2), layout="constrained")
    axes = figure.subplots(2, 4)
    half = FIELD_NM / 2
    view = (-half, half, half, -half)
    for row, (material, variants, step_nm) in enumerate(
        (("PbTiO3", FIVE, 2.0), ("boracite", SIX, 1.25))
    ):
        classifier = Classifier(find(material), threads=1)
        classes = classifier.card.classes
        specimen = Specimen(variants, 3, material=material)
        whole = by_raster(specimen, classifier, step_nm)
        frames = len(raster(step_nm))
        followed = by_following(specimen, classifier, frames)
        shown = (
            ("domain_image", truth_picture(specimen, classes), f"{material}: truth"),
            ("domain_image", whole.result_, f"raster of {step_nm:g} nm, {frames} frames"),
            ("domain_image", followed.result_, f"walls followed, {frames} frames"),
            ("domain_probability_image", whole.result_, "raster: largest probability"),
        )
        for axis, (key, result, title) in zip(axes[row], shown, strict=True):
            draw_image(axis, key, result, view)
            axis.set_title(title, fontsize=9)
    figure.savefig(sys.argv[1], dpi=100)


if __name__ == "__main__":
    main()
