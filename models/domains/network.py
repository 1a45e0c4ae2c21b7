"""The network that tells domains apart, with all that goes before it in the same graph.

A frame is centred on its central disk, brought onto a grid of 32 x 32, put to one dose and its
counting noise made even (a square root). What tells one sense of the polarisation from the other
is the difference of a disk and its Friedel mate, so the network is shown the even and the odd
part of the pattern about its centre. A linear discriminant of these, whose within-class covariance
holds what tilt, thickness and the camera do to a pattern, makes the first guess; three convolutions
and two dense layers add what is not linear. Probabilities are a softmax at a temperature that was
fitted afterwards.

Importing this file imports torch: it belongs to the extra `train`.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import torch
from torch import nn

GRID = 32
DOSE = 1e4
ANSCOMBE = 0.375
_WINDOW, _STEPS = 9, 3


class DomainNetwork(nn.Module):
    """Frames in, probabilities out.

    Parameters
    ----------
    shape : (h, w)
        Of the frames; zero frequency near ``[h // 2, w // 2]``.
    n_classes : int
    channels : three int
        Of the convolutions.
    hidden : int
        Width of the dense layer.
    """

    temperature: torch.Tensor
    typical: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor
    points: torch.Tensor

    def __init__(
        self,
        shape: tuple[int, int],
        n_classes: int,
        *,
        channels: tuple[int, int, int] = (8, 16, 32),
        hidden: int = 32,
    ) -> None:
        super().__init__()
        self.shape = shape
        a, b, c = channels
        self.features = nn.Sequential(
            nn.Conv2d(2, a, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(a, b, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(b, c, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
        )
        side = GRID // 8
        last = nn.Linear(hidden, n_classes)
        nn.init.zeros_(last.weight)  # the convolutions begin by adding nothing
        nn.init.zeros_(last.bias)
        self.head = nn.Sequential(
            nn.Dropout(0.2),
            nn.Linear(c * side * side, hidden),
            nn.ReLU(),
            nn.Dropout(0.2),
            last,
        )
        self.linear = nn.Linear(2 * GRID * GRID, n_classes)
        self.linear.requires_grad_(False)  # it is solved for, not descended to
        # its weights can be large: of differences from a typical pattern they lose fewer bits
        self.register_buffer("typical", torch.zeros(2 * GRID * GRID))
        self.register_buffer("temperature", torch.ones(()))
        h, w = shape
        self.register_buffer("rows", torch.arange(h, dtype=torch.float32) - h // 2)
        self.register_buffer("columns", torch.arange(w, dtype=torch.float32) - w // 2)
        self.register_buffer("points", torch.arange(GRID, dtype=torch.float32) - (GRID - 1) / 2)
        self.steps = (h / GRID, w / GRID)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Return probabilities (n, k) of frames (n, h, w) float32, counts."""
        return torch.softmax(self.logits(frames) / self.temperature, dim=1)

    def logits(self, frames: torch.Tensor) -> torch.Tensor:
        """Return what the softmax is taken of, at temperature 1."""
        seen = self.prepared(frames)
        return self.linear(seen.flatten(1) - self.typical) + self.head(self.features(seen))

    def prepared(self, frames: torch.Tensor) -> torch.Tensor:
        """Return the even and the odd part (n, 2, 32, 32) of centred frames of one dose."""
        frames = torch.relu(frames)
        y, x = self.centre(frames)
        on_grid = _hats(self.rows, self.points * self.steps[0], y, self.steps[0]) @ frames
        on_grid = on_grid @ _hats(
            self.columns, self.points * self.steps[1], x, self.steps[1]
        ).transpose(1, 2)
        total = on_grid.sum(dim=(1, 2), keepdim=True)
        # the constant (Anscombe's) bounds the slope at zero, where the last bits would be blown up
        even = torch.sqrt(on_grid * (DOSE / (total + 1e-6)) + ANSCOMBE)
        mate = torch.flip(even, (1, 2))
        return torch.stack([even + mate, even - mate], dim=1) * 0.25

    def centre(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return where the central disk is, (n,) and (n,), pixels from ``[h // 2, w // 2]``.

        A mean shift: the centre of mass within a round window that follows it.
        """
        y0, x0 = self.shape[0] // 2, self.shape[1] // 2
        reach_y, reach_x = self.reach()
        rows, columns = (
            self.rows[y0 - reach_y : y0 + reach_y + 1],
            self.columns[x0 - reach_x : x0 + reach_x + 1],
        )
        box = frames[:, y0 - reach_y : y0 + reach_y + 1, x0 - reach_x : x0 + reach_x + 1]
        y = torch.zeros_like(box[:, 0, 0])
        x = torch.zeros_like(y)
        for _ in range(_STEPS):
            window_y = torch.relu(1 - ((rows - y[:, None]) / (0.6 * reach_y)) ** 2)
            window_x = torch.relu(1 - ((columns - x[:, None]) / (0.6 * reach_x)) ** 2)
            along_y = (box @ window_x[:, :, None])[:, :, 0] * window_y
            along_x = (window_y[:, None] @ box)[:, 0] * window_x
            y = (along_y * rows).sum(dim=1) / (along_y.sum(dim=1) + 1e-6)
            x = (along_x * columns).sum(dim=1) / (along_x.sum(dim=1) + 1e-6)
        return y, x

    def reach(self) -> tuple[int, int]:
        """Return how far from the middle the central disk is looked for, pixels."""
        return max(2, round(_WINDOW * self.shape[0] / 64)), max(
            2, round(_WINDOW * self.shape[1] / 64)
        )


def _hats(
    pixels: torch.Tensor, points: torch.Tensor, centre: torch.Tensor, width: float
) -> torch.Tensor:
    """Return the weights (n, grid, pixels) with which pixels add to points about each centre."""
    place = points[None, :, None] + centre[:, None, None]
    return torch.relu(1 - torch.abs(pixels - place) / max(width, 1.0))
