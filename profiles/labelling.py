"""``flyback label``: name the domains of a stored run from labels of few of its patterns."""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..callbacks.plots import save_picture
from ..models.domains.few_labels import FewLabels
from ..models.domains.pattern_features import pattern_features
from ..models.domains.sampling import STRATEGIES, Strategy, choose
from .archive import Archive
from .contact_sheet import blocks, save_sheet
from .labels import read_labels, write_labels
from .registry import PluginError, plugins, unknown
from .stored_scan import StoredScan, domains_of, read_scan

CLASSES = ("+x", "-x", "+y", "-y", "c")
SKIP, STOP = "?", "."
JUDGED_FROM = 10  # labels; a class with one label cannot be found without it
Ask = Callable[[str], str]
Say = Callable[[str], None]


def strategy_of(name: str) -> Strategy:
    """Return a strategy by name: a built-in one, or a function in the group ``flyback.models``.

    Raises
    ------
    PluginError
        If there is none.
    """
    if name in STRATEGIES:
        return STRATEGIES[name]
    offered = plugins("flyback.models")
    found = offered[name].load() if name in offered else None
    if found is None or inspect.isclass(found):
        raise PluginError(unknown("strategy", name, list(STRATEGIES)))
    return found


class Labelling:
    """Labels of one scan as they grow, kept in a file after every answer.

    Parameters
    ----------
    scan : StoredScan
    classes : sequence of str
    target : Path
        ``.npz``; labels that it holds already are gone on from.
    """

    def __init__(self, scan: StoredScan, classes: Sequence[str], target: Path) -> None:
        self.scan, self.target = scan, target
        counts = scan.frames.sum(axis=(1, 2), dtype=np.float64)
        self.silent = ~(np.isfinite(counts) & (counts > 0))
        self.skipped = self.silent.copy()  # not asked about
        self.model = FewLabels(pattern_features(scan.frames), classes)
        self.row_of = {int(index): row for row, index in enumerate(scan.scan_index)}
        if target.is_file():
            self._go_on()

    def _go_on(self) -> None:
        found = read_labels(self.target, self.model.classes)
        name = self.target.name
        if found.classes != self.model.classes:
            raise ValueError(
                f"{name} has the classes {','.join(found.classes)}: give --classes so, or another"
                " --out"
            )
        if found.run not in ("", self.scan.uid):
            raise ValueError(f"{name} holds labels of run {found.run[:8]}; give another --out")
        strangers = [int(i) for i in found.scan_index if int(i) not in self.row_of]
        if strangers:
            raise ValueError(f"{name} has a label of frame {strangers[0]}, which the run has not")
        rows = np.array([self.row_of[int(i)] for i in found.scan_index], np.int64)
        self.model.partial_fit(rows, found.label)

    def answer(self, row: int, label: int) -> None:
        """Take in one label and write all of them."""
        self.model.partial_fit(np.array([row]), np.array([label]))
        self.write()

    def write(self) -> None:
        """Write what `flyback train domains --labelled` takes."""
        rows = np.flatnonzero(self.model.labelled)
        arrays: dict[str, Any] = {
            "patterns": np.maximum(self.scan.frames[rows], 0),
            "label": self.model.label_[rows].astype(np.int8),
            "classes": np.array(self.model.classes),
            "scan_index": self.scan.scan_index[rows],
            "run": np.array(self.scan.uid),
        }
        sampling = self.scan.experiment.angular_sampling_rad
        if sampling is not None:
            arrays["angular_sampling_mrad"] = np.float64(np.mean(sampling) * 1e3)
        write_labels(self.target, **arrays)

    def next_rows(self, strategy: Strategy, n: int, seed: int) -> np.ndarray:
        """Return which patterns to ask about."""
        return choose(
            strategy,
            self.model.features,
            self.model.labelled,
            n,
            probability=self.model.probability_,
            positions=self.scan.positions,
            skipped=self.skipped,
            seed=seed + int(self.model.labelled.sum()),
        )

    def state(self) -> str:
        """Return a sentence on how far it is."""
        began, probability = time.perf_counter(), self.model.probability_
        spent = time.perf_counter() - began
        if probability is None:
            return "no labels yet"
        n, unsure = int(self.model.labelled.sum()), np.mean(probability.max(axis=1) < 0.8)
        found = ""
        if n >= JUDGED_FROM:
            found = (
                f" {self.model.cross_validated():.2f} of them are found by cross-validation (they"
                " were chosen to be hard),"
            )
        return (
            f"{n} labels:{found} {unsure:.0%} of all patterns are unsure; refitted in {spent:.2f} s"
        )


def run_label(
    uid: str,
    *,
    classes: Sequence[str] = CLASSES,
    strategy: str = "walls",
    labels: int = 40,
    a_round: int = 6,
    answers: Path | None = None,
    out: Path | None = None,
    seed: int = 0,
    directory: str | os.PathLike[str] | None = None,
    ask: Ask = input,
    say: Say = print,
) -> dict[str, Any]:
    """Ask for labels of chosen patterns of a stored run, and map its domains by them.

    Parameters
    ----------
    uid : str
        Uid or its beginning, scan id, or ``"last"``.
    classes : sequence of str
    strategy : str
        See `strategy_of`.
    labels : int
        Stop at so many, those of an earlier session counted.
    a_round : int
        Patterns between two fits.
    answers : Path, optional
        ``.npz`` or ``.csv`` that answers instead of a person, see `labels.read_labels`; a
        pattern that it does not name is not asked about.
    out : Path, optional
        ``.npz``, by default ``UID-labels.npz`` here. Is it there, the session goes on from it.
    seed : int
    directory : path, optional
    ask : callable (str) -> str
        How a person is asked; an end of input ends the session.
    say : callable (str)

    Returns
    -------
    dict
        What the JSON line holds.

    Raises
    ------
    ValueError
        For what cannot be used.
    """
    names = _checked(classes, labels, a_round)
    chosen_strategy = strategy_of(strategy)
    if out is not None and not out.parent.is_dir():
        raise ValueError(f"--out: the folder {out.parent} does not exist; make it first")
    known = None
    if answers is not None:
        given = read_labels(answers, names)
        if given.classes not in ((), names):
            raise ValueError(
                f"{answers.name} has the classes {','.join(given.classes)}: give --classes so"
            )
        known = dict(zip(given.scan_index.tolist(), given.label.tolist(), strict=True))
    with Archive(directory) as archive:
        scan = read_scan(archive, uid)
        target = (out or Path(f"{scan.uid[:8]}-labels.npz")).with_suffix(".npz")
        labelling = Labelling(scan, names, target)
        if known is not None:
            answered = np.isin(scan.scan_index, np.array(list(known), np.int64))
            labelling.skipped |= ~answered
        sheets = archive.layout.pictures / f"{scan.uid[:8]}-labels"
        if labelling.model.labelled.any():
            say(f"going on from {target}: {labelling.state()}")
        try:
            rounds = _rounds(labelling, chosen_strategy, labels, a_round, seed)
            for turn, rows in enumerate(rounds):
                sheet = None
                if known is None:
                    sheet = _show(sheets, labelling, rows)
                    say(f"patterns to label: {sheet}")
                if not _answered(labelling, rows, known, ask, say):
                    break
                say(f"round {turn + 1}: {labelling.state()}")
        except KeyboardInterrupt:
            say(f"{labelling.model.labelled.sum()} labels are in {target}; go on as you began")
            raise
        return _finished(labelling, archive, strategy)


def _checked(classes: Sequence[str], labels: int, a_round: int) -> tuple[str, ...]:
    names = tuple(name.strip() for name in classes)
    if len(names) < 2 or len(set(names)) < len(names) or not all(names):
        raise ValueError(f"--classes must be two or more different names, got {','.join(names)}")
    for name in names:
        if name in (SKIP, STOP) or name.isdigit():
            raise ValueError(f"--classes: {name!r} has another meaning as an answer; rename it")
    if labels < 1 or a_round < 1:
        raise ValueError(f"--labels and --round must be 1 or more, got {labels} and {a_round}")
    return names


def _rounds(labelling: Labelling, strategy: Strategy, labels: int, a_round: int, seed: int) -> Any:
    """Yield the rows of each round until there are labels enough or nothing is left."""
    while (missing := labels - int(labelling.model.labelled.sum())) > 0:
        rows = labelling.next_rows(strategy, min(a_round, missing), seed)
        if not len(rows):
            return
        yield rows


def _show(folder: Path, labelling: Labelling, rows: np.ndarray) -> Path:
    probability, scan = labelling.model.probability_, labelling.scan
    guess = None if probability is None else probability.argmax(axis=1)
    titles = []
    for k, row in enumerate(rows):
        text = f"{k + 1}: frame {scan.scan_index[row]}"
        if probability is not None and guess is not None:
            text += f"\n{labelling.model.classes[guess[row]]}? {probability[row].max():.2f}"
        titles.append(text)
    path = folder / f"after-{int(labelling.model.labelled.sum()):03d}.png"
    return save_sheet(
        path, scan.frames[rows], titles, positions=scan.positions, chosen=rows, guess=guess
    )


def _answered(
    labelling: Labelling, rows: np.ndarray, known: dict[int, int] | None, ask: Ask, say: Say
) -> bool:
    """Take in the answers of a round; return False where the session is to end."""
    names, scan = labelling.model.classes, labelling.scan
    for k, row in enumerate(rows):
        if known is not None:
            label = known[int(scan.scan_index[row])]
        else:
            say(blocks(scan.frames[row]))
            may = f"{' '.join(names)}; {SKIP} skips, {STOP} ends"
            text = f"{k + 1}: frame {scan.scan_index[row]} ({may}) "
            try:
                label = _asked(text, names, ask, say)
            except EOFError:
                return False
            if label is None:
                return False
        if label < 0:
            labelling.skipped[row] = True
        else:
            labelling.answer(int(row), label)
    return True


def _asked(text: str, names: Sequence[str], ask: Ask, say: Say) -> int | None:
    """Return a label, -1 to skip, None to end."""
    while True:
        reply = ask(text).strip()
        if reply == STOP:
            return None
        if reply == SKIP:
            return -1
        if reply in names:
            return list(names).index(reply)
        if reply.isdigit() and 1 <= int(reply) <= len(names):
            return int(reply) - 1
        say(f"answer {', '.join(names)}, or 1 to {len(names)}, {SKIP} or {STOP}; not {reply!r}")


def _finished(labelling: Labelling, archive: Archive, strategy: str) -> dict[str, Any]:
    model, scan, target = labelling.model, labelling.scan, labelling.target
    probability = model.probability_
    if probability is None:
        raise ValueError("nothing was labelled, so that there is no map")
    result = domains_of(scan, model.classes, probability, labelling.silent)
    maps = target.with_name(target.stem + "-map.npz")
    write_labels(maps, **{key: np.asarray(quantity.value) for key, quantity in result.items()})
    picture = save_picture(
        archive.layout.pictures / f"{scan.uid[:8]}-labels.png",
        result,
        f"{int(model.labelled.sum())} labels",
    )
    accuracy = model.cross_validated()
    counts = np.bincount(model.label_[model.labelled], minlength=len(model.classes))
    return {
        "run": scan.uid,
        "labels": str(target),
        "map": str(maps),
        "pictures": [] if picture is None else [str(picture)],
        "strategy": strategy,
        "labelled": int(model.labelled.sum()),
        "patterns": len(scan.frames),
        "by_class": dict(zip(model.classes, counts.tolist(), strict=True)),
        "cross_validated": round(accuracy, 4) if np.isfinite(accuracy) else None,
    }
