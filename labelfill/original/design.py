"""Networks of the original work: what it chose beside the settings of `train-final`, and what follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from labelfill.arrays import Array, Integers, Mask
from labelfill.networks.fit import Plan
from labelfill.original.plain_networks import ACTIVATIONS, LAYOUTS, Activation, PlainNetwork
from labelfill.settings import PRESETS, FinalModelSettings, Preset, Switch

Rotate = Literal["none", "complete", "all"]
Features = Literal["none", "edges"]

_BASELINE: dict[str, Any] = {
    "shuffle": "off",
    "rotate": "none",
    "activation": "relu",
    "batch_norm": "off",
    "dropout": 0.1,
    "features": "none",
    "l1": 0.0,
    "l2": 0.0,
}
_PHASE1 = _BASELINE | {"shuffle": "on", "activation": "leaky-relu", "batch_norm": "on"}
_PHASE2 = _PHASE1 | {"rotate": "complete"}
_PHASE3 = _PHASE2 | {"activation": "selu"}
_CHOICES: Mapping[Preset, Mapping[str, Any]] = {
    "baseline": _BASELINE,
    "phase1": _PHASE1,
    "phase2": _PHASE2,
    "phase3": _PHASE3,
}

# Copies are turned by an angle between these, each way.
_LEAST_DEGREES, _MOST_DEGREES = 1.0, 16.0


@dataclass(frozen=True)
class Design(FinalModelSettings):
    """Settings of a preset other than the default, and what is no setting of `train-final`.

    What is None is the preset's. Only steps of the journey choose otherwise than a preset.

    Attributes
    ----------
    shuffle
        Whether every epoch has an order of its own.
    rotate
        Which rows have copies turned each way: none, those that persons labelled completely, or all.
    activation, batch_norm
        What follows each convolution.
    dropout
        Before the last layer.
    features
        What is seen beside the pixels.
    l1, l2
        Penalties on the sizes and squares of weights.
    """

    presets: ClassVar[Mapping[Preset, Mapping[str, Any]]] = {
        preset: {**PRESETS[preset], **choices} for preset, choices in _CHOICES.items()
    }

    shuffle: Switch | None = None
    rotate: Rotate | None = None
    activation: Activation | None = None
    batch_norm: Switch | None = None
    dropout: float | None = None
    features: Features | None = None
    l1: float | None = None
    l2: float | None = None

    def network(self, outputs: int, size: tuple[int, int]) -> PlainNetwork:
        """Untrained, for `outputs` keypoints; height and width of its input in samples."""
        assert self.activation is not None and self.dropout is not None, "settings are complete"
        return PlainNetwork(
            outputs, *size, LAYOUTS[self.preset], ACTIVATIONS[self.activation],
            normed=self.batch_norm == "on", dropout=self.dropout, edges=self.features == "edges",
        )  # fmt: skip

    def plan(self, epochs: int, batch: int, rate: float) -> Plan:
        """A session: the learning rate is constant, weights do not decay and are not averaged."""
        assert self.l1 is not None and self.l2 is not None, "settings are complete"
        return Plan(
            epochs, batch, rate, weight_decay=0.0, constant=True, shuffle=self.shuffle == "on",
            best_by=self.best_by, also_by="mae" if self.best_by == "rmse" else "rmse", l1=self.l1, l2=self.l2,
        )  # fmt: skip

    def copies(
        self, complete: Mask, generator: np.random.Generator, *, mirrors: bool
    ) -> tuple[Integers, Mask, Array]:
        """The examples of every epoch: all rows as they are, then their mirrored and turned copies.

        Parameters
        ----------
        complete
            (n,) rows of which every label is a person's.
        mirrors
            Whether mirrored rows can be learnt from.

        Returns
        -------
        tuple of arrays, all of shape (m,)
            The row, whether it is mirrored, and by how many radians it is turned.
        """
        every = np.arange(len(complete))
        parts: list[tuple[Integers, bool, Array]] = [(every, False, np.zeros(len(every)))]
        if self.flip == "on" and mirrors:
            parts.append((every, True, np.zeros(len(every))))
        turned = every if self.rotate == "all" else every[complete]
        if self.rotate != "none" and len(turned):
            for way in (1, -1):
                degrees = generator.uniform(_LEAST_DEGREES, _MOST_DEGREES, len(turned))
                parts.append((turned, False, way * np.radians(degrees)))
        rows = np.concatenate([part for part, _, _ in parts])
        mirrored = np.concatenate([np.full(len(part), side) for part, side, _ in parts])
        return rows, mirrored, np.concatenate([angles for _, _, angles in parts])


def settings_kind(options: Mapping[str, Any]) -> type[FinalModelSettings]:
    """Whose fields these options are, by their preset."""
    return FinalModelSettings if options.get("preset", "default") == "default" else Design


def design(settings: FinalModelSettings) -> Design | None:
    """What the original work makes of settings, complete; None if they ask for labelfill's own network."""
    if not settings.original:
        return None
    return (settings if isinstance(settings, Design) else Design(**vars(settings))).complete()
