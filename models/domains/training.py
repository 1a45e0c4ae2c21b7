"""Train a network on labelled patterns, calibrate it, and find out how good it is.

Importing this file imports torch: it belongs to the extra `train`. The labelled patterns are
parted, class by class, in three: to learn from, to calibrate with, and to be judged by. Patterns of
one group (one tilt of the crystal, one grain) stay together, since its neighbours tell what a
held-out pattern is.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from .augmentation import Augmentation
from .calibration import calibration_error, fit_temperature, threshold_for
from .network import DomainNetwork
from .symmetry import Operation, find_axes, operations

PASSES, BATCH, RATE, WEIGHT_DECAY = 8, 64, 1e-3, 1e-2
SOLVE_DRAWS, SHRINKAGE = 16, 0.2
HELD_OUT = 0.125  # of the patterns, to calibrate with; as many to be judged by
DRAWS = 8  # of each held-out pattern
THREADS = 1  # sums over threads decide the last bits of the weights; small layers gain nothing
# held-out patterns are changed as a good session changes them, not as hard as those learnt from
MILD = Augmentation(
    shift_px=0.5, rotation_deg=1.0, scale=0.01, least_dose=0.25, background=0.05, blur=0.1, mixed=0
)


@dataclass(frozen=True)
class Labelled:
    """Labelled patterns.

    Parameters
    ----------
    patterns : (n, h, w) integer or float, counts
        Zero frequency near ``[h // 2, w // 2]``; h and w at least 16.
    label : (n,) int
        Index into `classes`; each class at least 8 times.
    classes : sequence of str
    group : (n,) int or None
        Patterns of one group are held out together.

    Raises
    ------
    ValueError
        When these do not fit together.
    """

    patterns: np.ndarray
    label: np.ndarray
    classes: Sequence[str]
    group: np.ndarray | None = None

    def __post_init__(self) -> None:
        patterns, label, classes = self.patterns, self.label, [str(c) for c in self.classes]
        n = len(patterns)
        if patterns.ndim != 3 or min(patterns.shape[1:]) < 16 or patterns.dtype.kind not in "uif":
            raise ValueError(
                "patterns must be (n, h, w) numbers with h and w of 16 or more, got"
                f" {patterns.shape} of {patterns.dtype}"
            )
        if not np.all(np.isfinite(patterns)) or patterns.min(initial=0) < 0:
            raise ValueError("patterns must be finite counts >= 0; subtract no more than the dark")
        if label.shape != (n,) or label.dtype.kind not in "ui":
            raise ValueError(f"label must be {n} integers, one a pattern, got {label.shape}")
        if len(classes) < 2 or len(set(classes)) < len(classes):
            raise ValueError(f"classes must be two or more different names, got {classes}")
        if n == 0 or label.min() < 0 or label.max() >= len(classes):
            raise ValueError(f"label must lie between 0 and {len(classes) - 1}, as classes has it")
        few = [c for c, m in zip(classes, np.bincount(label, minlength=len(classes)), strict=True)
               if m < 8]  # fmt: skip
        if few:
            raise ValueError(f"the class {few[0]!r} has fewer than 8 patterns; label more of it")
        if self.group is not None and np.shape(self.group) != (n,):
            raise ValueError(f"group must be {n} integers, one a pattern")


@dataclass(frozen=True)
class Trained:
    """A trained network and what is known of it.

    Parameters
    ----------
    network : DomainNetwork
        On the CPU, in evaluation mode, its temperature fitted.
    threshold : float
        Least probability at which a class is believed.
    error_rate : float
        Stated share of errors among the patterns that are believed, on calibration data.
    accuracy : float
        Balanced, of held-out patterns as they are; an unknown one counts as wrong.
    accuracy_changed : float
        The same of `MILD`ly changed held-out patterns.
    calibration_error : float
        Expected, 15 bins, of both together.
    unknown_fraction : float
        Of held-out patterns as they are.
    axes : str
        How the named axes lie on the detector, "" where mirrors were not used.
    held_out, learnt : int
        How many patterns.
    seconds : float
    """

    network: DomainNetwork
    threshold: float
    error_rate: float
    accuracy: float
    accuracy_changed: float
    calibration_error: float
    unknown_fraction: float
    axes: str
    held_out: int
    learnt: int
    seconds: float


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Parameters
    ----------
    seed : int
        The same seed on the same machine gives the same weights.
    passes : int
        Over the patterns that are learnt from.
    axes : str
        "auto" finds how the classes' axes lie on the detector, "none" uses no mirrors and turns,
        and one of `symmetry.AXES` states it.
    error_rate : float
        Of the believed patterns, see `Trained`.
    augmentation : Augmentation
    """

    seed: int = 0
    passes: int = PASSES
    axes: str = "auto"
    error_rate: float = 0.01
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if not 1 <= self.passes <= 10_000:
            raise ValueError(f"passes must lie between 1 and 10000, got {self.passes}")
        if not 0 < self.error_rate < 0.5:
            raise ValueError(f"error_rate must lie between 0 and 0.5, got {self.error_rate:g}")
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more, got {self.seed}")


def train(
    labelled: Labelled, recipe: Recipe | None = None, say: Callable[[str], None] | None = None
) -> Trained:
    """Train, calibrate and judge a network.

    Parameters
    ----------
    labelled : Labelled
    recipe : Recipe, optional
    say : callable (str), optional
        Told how far it is.

    Raises
    ------
    ValueError
        For axes that are neither "auto", "none" nor of `symmetry.AXES`.
    """
    recipe = recipe or Recipe()
    began = time.monotonic()
    rng = np.random.default_rng(recipe.seed)
    patterns = np.rint(labelled.patterns).astype(np.int32)  # thinning is of whole counts
    label, classes = labelled.label.astype(np.int64), [str(c) for c in labelled.classes]
    learn, calibrate, judge = parted(label, labelled.group, rng)
    ways, axes = mirrors(recipe.axes, patterns[learn], label[learn], classes)
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        with torch.random.fork_rng(devices=[]):
            network = _learn(patterns[learn], label[learn], len(classes), ways, recipe, rng, say)
        logits, truth = _asked(network, patterns[calibrate], label[calibrate], rng)
        temperature = fit_temperature(logits, truth)
        network.temperature.fill_(temperature)
        threshold = threshold_for(_softmax(logits / temperature), truth, recipe.error_rate)
        logits, truth = _asked(network, patterns[judge], label[judge], rng)
    finally:
        torch.set_num_threads(before)
    probability = _softmax(logits / temperature)
    said = np.where(probability.max(axis=1) >= threshold, probability.argmax(axis=1), -1)
    plain = slice(0, len(judge))
    return Trained(
        network=network,
        threshold=threshold,
        error_rate=recipe.error_rate,
        accuracy=balanced_accuracy(truth[plain], said[plain]),
        accuracy_changed=balanced_accuracy(truth[len(judge) :], said[len(judge) :]),
        calibration_error=calibration_error(probability, truth),
        unknown_fraction=float(np.mean(said[plain] < 0)),
        axes=axes,
        held_out=len(calibrate) + len(judge),
        learnt=len(learn),
        seconds=time.monotonic() - began,
    )


def parted(
    label: np.ndarray, group: np.ndarray | None, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows to learn from, to calibrate with and to be judged by.

    In each the classes have about equal shares. Groups stay together where a class has four or
    more of them.
    """
    parts: tuple[list[np.ndarray], ...] = ([], [], [])
    for one in np.unique(label):
        rows = np.flatnonzero(label == one)
        own = np.arange(len(rows)) if group is None else group[rows]
        if len(np.unique(own)) < 4:
            own = np.arange(len(rows))
        names, member = np.unique(own, return_inverse=True)
        n = max(1, round(HELD_OUT * len(names)))
        place = rng.permutation(len(names))[member]
        for part, some in zip(
            parts, (place >= 2 * n, place < n, (place >= n) & (place < 2 * n)), strict=True
        ):
            part.append(rows[some])
    learn, calibrate, judge = (np.sort(np.concatenate(part)) for part in parts)
    return learn, calibrate, judge


def mirrors(
    axes: str, patterns: np.ndarray, label: np.ndarray, classes: Sequence[str]
) -> tuple[list[Operation], str]:
    """Return the mirrors and turns that may be used, and how the axes lie ("" for neither)."""
    found = find_axes(patterns, label, classes) if axes == "auto" else axes
    if found in (None, "none"):
        return [Operation(False, False, False, tuple(range(len(classes))))], ""
    square = patterns.shape[1] == patterns.shape[2]
    return operations(classes, found, square=square), found


def balanced_accuracy(truth: np.ndarray, said: np.ndarray) -> float:
    """Return the mean over the classes of the share that is recognised; -1 is never right."""
    return float(np.mean([np.mean(said[truth == one] == one) for one in np.unique(truth)]))


def _learn(
    patterns: np.ndarray,
    label: np.ndarray,
    n_classes: int,
    ways: list[Operation],
    recipe: Recipe,
    rng: np.random.Generator,
    say: Callable[[str], None] | None,
) -> DomainNetwork:
    torch.manual_seed(recipe.seed)
    network = DomainNetwork((patterns.shape[1], patterns.shape[2]), n_classes)
    _solve(network, patterns, label, ways, recipe, rng)
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
    a_pass = max(1, len(patterns) // BATCH)
    steps = recipe.passes * a_pass
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    chance = 1 / np.bincount(label, minlength=n_classes)[label]
    chance /= chance.sum()
    for step in range(steps):
        rows = rng.choice(len(patterns), BATCH, p=chance)
        way = rng.integers(len(ways), size=BATCH)
        seen, weights = patterns[rows], np.zeros((BATCH, n_classes), np.float32)
        for k in np.unique(way):
            mine = way == k
            seen[mine] = ways[k](seen[mine])
            weights[mine, np.array(ways[k].classes)[label[rows[mine]]]] = 1
        seen, weights = recipe.augmentation(seen, weights, rng)
        logits = network.logits(torch.from_numpy(seen))
        loss = -(torch.from_numpy(weights) * torch.log_softmax(logits, dim=1)).sum(dim=1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if say is not None and (step + 1) % (5 * a_pass) == 0:
            say(f"pass {(step + 1) // a_pass} of {recipe.passes}: loss {loss.item():.3f}")
    return network.eval()


def _solve(
    network: DomainNetwork,
    patterns: np.ndarray,
    label: np.ndarray,
    ways: list[Operation],
    recipe: Recipe,
    rng: np.random.Generator,
) -> None:
    """Set the linear part to the discriminant of changed patterns.

    Fisher's, with the within-class covariance shrunk towards a multiple of unity, and classes
    taken for equally frequent.
    """
    n_classes, size = network.linear.out_features, network.linear.in_features
    augmentation = replace(recipe.augmentation, mixed=0)
    means, count = torch.zeros(n_classes, size, dtype=torch.float64), torch.zeros(n_classes)
    scatter = torch.zeros(size, size)
    for way in ways:
        changed = np.array(way.classes)[label]
        for _ in range(max(1, SOLVE_DRAWS // len(ways))):
            shown, _ = augmentation(
                np.ascontiguousarray(way(patterns)), np.zeros((len(label), 1), np.float32), rng
            )
            with torch.no_grad():
                seen = network.prepared(torch.from_numpy(shown)).flatten(1)
            scatter += seen.T @ seen
            which = torch.from_numpy(changed)
            means.index_add_(0, which, seen.double())
            count += torch.bincount(which, minlength=n_classes)
    means /= count[:, None]
    covariance = scatter.double() - (means.T * count) @ means
    covariance /= count.sum()
    own = covariance.trace() / size
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * own * torch.eye(size)
    direction = torch.linalg.solve(covariance, means.T)
    typical = means.mean(dim=0)
    bias = direction.T @ typical - 0.5 * (means.T * direction).sum(dim=0)
    with torch.no_grad():
        network.typical.copy_(typical)
        network.linear.weight.copy_(direction.T)
        network.linear.bias.copy_(bias)


def _asked(
    network: DomainNetwork, patterns: np.ndarray, label: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return logits and truth of patterns as they are, then of `DRAWS` changes of each."""
    nothing = np.zeros((len(patterns), 1), np.float32)
    shown = [patterns.astype(np.float32)]
    shown += [MILD(patterns, nothing, rng)[0] for _ in range(DRAWS)]
    with torch.no_grad():
        logits = [network.logits(torch.from_numpy(one)).numpy() for one in shown]
    return np.concatenate(logits).astype(np.float64), np.tile(label, 1 + DRAWS)


def _softmax(logits: np.ndarray) -> np.ndarray:
    power = np.exp(logits - logits.max(axis=1, keepdims=True))
    return power / power.sum(axis=1, keepdims=True)
