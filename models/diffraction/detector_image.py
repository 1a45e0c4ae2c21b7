"""Masks, darks and flat fields of a detector, from the files that beamlines keep them in."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def read_detector_image(path: str | Path, shape: tuple[int, int], what: str) -> np.ndarray:
    """Read one image of a detector.

    Parameters
    ----------
    path : path
        ``.npy``, or an image that fabio reads: EDF, CBF, TIFF, Fit2D's ``.msk``, ...
    shape : (h, w)
        Of the detector.
    what : str
        For messages, such as "mask".

    Returns
    -------
    (h, w) array

    Raises
    ------
    ValueError
        When it cannot be read or has another shape.
    """
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"no {what} at {file}; give the path of an existing file")
    try:
        if file.suffix == ".npy":
            values = np.load(file, allow_pickle=False)
        else:
            import fabio  # heavy, and only diffraction needs it

            values = np.asarray(fabio.open(str(file)).data)
    except Exception as error:  # a damaged image raises anything
        raise ValueError(f"the {what} {file} cannot be read: {error}") from error
    if values.shape != tuple(shape):
        raise ValueError(
            f"the {what} {file.name} has shape {values.shape}, but the frames are"
            f" {shape[0]} x {shape[1]}; give a {what} of this detector"
        )
    return values
