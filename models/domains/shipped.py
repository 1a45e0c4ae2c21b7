"""How the networks that come with flyback are made, and how they are judged.

    python -m flyback.models.domains.shipped PbTiO3 [--patterns 4000] [--seed 0] [--out FOLDER]

Patterns are simulated (`simulation`), so that what a network has never seen can be stated: it is
judged on thicknesses, tilts and doses beyond those that it learnt from, each by itself, and not on
a random part of the same. Needs the extra `train`.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from .card import card_path, read_card
from .classifier import Classifier
from .crystal import MATERIALS
from .export import export
from .simulation import Ranges, labelled_patterns
from .training import Labelled, Recipe, balanced_accuracy, train

WEIGHTS = Path(__file__).parent / "weights"
LEARNT = Ranges(
    thickness_nm=(6.0, 26.0),
    tilt_mrad=(0.0, 1.5),
    dose_e_per_pattern=(1e3, 3e4),
    blur_px=(0.0, 0.8),
    background_fraction=(0.0, 0.1),
    descan_px=(-1.0, 1.0),
    rotation_deg=(-2.0, 2.0),
)
# one quantity beyond what was learnt from, the others as they were
UNSEEN = {
    "as learnt from": LEARNT,
    "thickness 26-36 nm": replace(LEARNT, thickness_nm=(26.0, 36.0)),
    "thickness 4-6 nm": replace(LEARNT, thickness_nm=(4.0, 6.0)),
    "tilt 1.5-3 mrad": replace(LEARNT, tilt_mrad=(1.5, 3.0)),
    "dose 300-1000 e": replace(LEARNT, dose_e_per_pattern=(300.0, 1000.0)),
    "dose 3e4-2e5 e": replace(LEARNT, dose_e_per_pattern=(3e4, 2e5)),
}
JUDGED = 1000  # patterns for each of these
LEAST_SURE = 0.5  # a class that is less likely than all others together is not believed


NETWORKS = {
    "PbTiO3": "PbTiO3 (P4mm) along a pseudocubic <100>.",
    "boracite": (
        "Boracite from the cubic F-43c refinement, Cu on the metal site. The polar coordinates are"
        " a model: the metal is displaced by 0.20 and Cl by -0.10 angstrom along each pseudocubic"
        " <100>."
    ),
}


def make(name: str, folder: Path = WEIGHTS, *, patterns: int = 4000, seed: int = 0) -> str:
    """Simulate, train, judge and write one network; return the rows of its table of accuracy.

    Parameters
    ----------
    name : str
        Of `NETWORKS`.
    folder : Path
        NAME.onnx and NAME.toml are written there; it is made where it is not there.
    patterns : int
        To learn from, to calibrate with and to be judged by within the same ranges.
    seed : int

    Raises
    ------
    ValueError
        For an unknown name or too few patterns.
    """
    if name not in NETWORKS:
        raise ValueError(f"name must be one of {', '.join(NETWORKS)}, got {name!r}")
    folder.mkdir(parents=True, exist_ok=True)
    made = labelled_patterns(name, patterns, seed=seed, ranges=LEARNT)
    classes = [str(one) for one in made["classes"]]
    labelled = Labelled(made["patterns"], made["label"], classes)
    trained = train(labelled, Recipe(seed=seed), print)
    threshold = max(trained.threshold, LEAST_SURE)
    path = folder / f"{name}.onnx"
    classifier = export(
        replace(trained, threshold=threshold),
        classes,
        path,
        made["patterns"][:64],
        training_data=(
            f"{patterns} patterns simulated by flyback.models.domains.simulation (seed {seed})."
            f" {NETWORKS[name]} Class c is polarized along the beam, either way. {said(LEARNT)}"
        ),
        remake=(
            f"python -m flyback.models.domains.shipped {name} --patterns {patterns} --seed {seed}"
        ),
        angular_sampling_mrad=LEARNT.angular_sampling_mrad[0],
    )
    rows, words = judged(name, classifier, threshold, seed)
    card = read_card(path)
    card = replace(card, accuracy=f"{card.accuracy}. {words}", licence="BSD-3-Clause, as flyback")
    card_path(path).write_text(card.to_toml(), encoding="utf-8")
    return rows


def judged(name: str, classifier: Classifier, threshold: float, seed: int) -> tuple[str, str]:
    """Return rows of a Markdown table, and words, of how a network does on what it has not seen."""
    rows, words = [], []
    cases = [(name, which, ranges) for which, ranges in UNSEEN.items()]
    # crystals that it has not seen: only "unknown" would be right
    cases += [(other, f"{other}, as foreign", LEARNT) for other in MATERIALS if other != name]
    for material, which, ranges in cases:
        made = labelled_patterns(material, JUDGED, seed=seed + 1000, ranges=ranges)
        classes = [str(one) for one in made["classes"]]
        order = [classes.index(one) for one in classifier.card.classes]
        truth = np.argsort(order)[made["label"]]
        probability = classifier(made["patterns"].astype(np.float32))
        best = probability.argmax(axis=1)
        believed = probability.max(axis=1) >= threshold
        unknown = float(np.mean(~believed))
        if material != name:
            rows.append(f"| {which} | | | {unknown:.3f} |")
            words.append(f"{which} {unknown:.3f} unknown")
            continue
        accuracy = balanced_accuracy(truth, np.where(believed, best, -1))
        wrong = float(np.mean(best[believed] != truth[believed])) if believed.any() else 0.0
        rows.append(f"| {which} | {accuracy:.3f} | {wrong:.4f} | {unknown:.3f} |")
        words.append(f"{which} {accuracy:.3f}")
    text = f"Balanced accuracy on {JUDGED} simulated patterns each, unknown counted as wrong: "
    return "\n".join(rows), text + ", ".join(words)


def said(ranges: Ranges) -> str:
    """Return ranges in words."""
    return (
        f"Thickness {ranges.thickness_nm[0]:g}-{ranges.thickness_nm[1]:g} nm, tilt"
        f" {ranges.tilt_mrad[0]:g}-{ranges.tilt_mrad[1]:g} mrad,"
        f" {ranges.dose_e_per_pattern[0]:g}-{ranges.dose_e_per_pattern[1]:g} electrons a pattern,"
        f" {ranges.semi_convergence_angle_mrad[0]:g} mrad convergence,"
        f" {ranges.angular_sampling_mrad[0]:g} mrad a pixel, blur up to {ranges.blur_px[1]:g} px,"
        f" background up to {ranges.background_fraction[1]:g}, descan up to"
        f" {ranges.descan_px[1]:g} px, rotation up to {ranges.rotation_deg[1]:g} degrees."
    )


def main() -> None:
    """Make one network from the command line."""
    parser = argparse.ArgumentParser(description="Make a network that comes with flyback.")
    parser.add_argument("name", choices=list(NETWORKS))
    parser.add_argument("--patterns", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    given = parser.parse_args()
    print("| patterns | balanced accuracy | wrong of those believed | unknown |")
    print("|---|---|---|---|")
    print(make(given.name, given.out, patterns=given.patterns, seed=given.seed))


if __name__ == "__main__":
    main()
