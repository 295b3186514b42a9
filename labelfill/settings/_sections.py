"""The settings of each stage."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from labelfill.errors import UsageError
from labelfill.schema import ImageSize
from labelfill.settings._fields import Settings, setting
from labelfill.settings._presets import GONE, PRESETS, Equalize, Labels, Preset, Refine, RowsMode, Switch

Method = Literal["anchored", "image-only", "prior"]
BestBy = Literal["rmse", "mae"]
Backend = Literal["loky", "dask"]
Coordinates = Literal["px", "share", "centred"]


@dataclass(frozen=True)
class RunSettings(Settings):
    """Where and how a run works."""

    section: ClassVar[str] = "run"

    run_dir: Path = setting(
        Path("outputs"), "folder that holds models and the state of the run", metavar="FOLDER"
    )
    device: str = setting(
        "auto", "where to compute: auto, cpu, cuda, cuda:NUMBER, or mps (not tested)", metavar="DEVICE"
    )
    seed: int = setting(0, "seed of all randomness", at_least=0, at_most=2**63 - 1, metavar="NUMBER")
    tensorboard: bool = setting(
        False, "also write learning curves for TensorBoard into the run directory (needs tensorboard)"
    )

    backend: Backend = setting(
        "loky",
        "what computes independent units of work: this machine's processes, or a cluster's workers",
        gone={"ray": "use --backend dask"},
    )
    scheduler: str | None = setting(
        None,
        "address of a Dask cluster's scheduler, tcp://HOST:PORT (default: a cluster of this machine's cores)",
        metavar="ADDRESS",
    )

    def idle(self) -> Mapping[str, str]:
        if self.backend != "dask":
            return {"scheduler": "only --backend dask has one"}
        return {}

    def check(self) -> None:
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", self.device):
            raise UsageError(f"device must be auto, cpu, cuda, cuda:NUMBER or mps, not {self.device!r}")


@dataclass(frozen=True)
class TableSettings(Settings):
    """How a table is read."""

    section: ClassVar[str] = "table"

    data: Path | None = setting(
        None,
        "the table: .csv, .csv.gz or a .zip that holds one, or a file of another format (docs/formats.md)",
        metavar="TABLE",
    )
    image_size: ImageSize | None = setting(
        None,
        "height and width of the images in px (default: a square, by the number of pixels); for image files "
        "of different sizes those of the frame that each is scaled into (default: middling, at most 256); "
        "without images what holds the labels",
    )
    source_column: str | None = setting(
        None, "column that names each row's label source, or none (default: found from missing patterns)"
    )
    group_column: str | None = setting(
        None, "column of rows that stay on one side of the split, such as frames of one subject"
    )
    image_folder: Path | None = setting(
        None, "folder that names of image files start from (default: the table's own)", metavar="FOLDER"
    )
    allow_outside: bool = setting(False, "let image_path leave the table's folder")
    image_column: str | None = setting(
        None, "column that names the image files, or holds the grey values (default: image_path or Image)"
    )
    missing_value: tuple[float, ...] = setting(
        (),
        "number that stands in both x and y of a point that is not labelled, such as -1: it counts as blank "
        "and is filled; may be given several times",
    )
    min_likelihood: float | None = setting(
        None,
        "take only points whose NAME_likelihood (or _score, _confidence) is at least this as labels; the "
        "others count as blank and are filled",
        at_least=0,
        at_most=1,
        metavar="SHARE",
    )
    coordinates: Coordinates = setting(
        "px",
        "unit of the coordinates: px, share (0 to 1 of the image's width and height) or centred (-1 to 1)",
    )
    no_exif_turn: bool = setting(
        False, "take image files as they are stored, not turned as their EXIF orientation says"
    )

    def check(self) -> None:
        if not isinstance(self.missing_value, tuple):
            raise UsageError(
                f"missing_value must be a tuple of numbers, such as (-1,), not {self.missing_value!r}"
            )

    @property
    def images_beside(self) -> Path | None:
        """What a table in the image folder would be called, if there is one."""
        return None if self.image_folder is None else self.image_folder / "table"

    distrust: Path | None = setting(
        None, "labels that are neither anchor nor target: a file of lines row,keypoint, as inspect writes"
    )


@dataclass(frozen=True)
class KeypointModelSettings(Settings):
    """How the keypoint models are trained."""

    section: ClassVar[str] = "keypoint-models"

    method: Method = setting("anchored", "evidence the models use; prior is of labels alone, without images")
    mirror_pairs: str = setting(
        "auto",
        "mirror partners: auto (by name), none, or a file with lines LEFT,RIGHT",
        metavar="auto|none|FILE",
    )
    epochs: int = setting(
        20,
        "passes over the training rows (more where rows are few); networks of patches take a quarter, "
        "their common start two fifths",
        at_least=1,
    )
    batch_size: int = setting(64, "rows per training step", at_least=1)
    learning_rate: float = setting(2e-3, "largest learning rate", above=0, at_most=1, metavar="RATE")
    patch_size: int = setting(32, "side of a patch in samples", at_least=8, at_most=256)
    best_by: BestBy = setting("rmse", "validation figure that chooses the epoch to keep")

    def idle(self) -> Mapping[str, str]:
        if self.method == "prior":
            trained = ("epochs", "batch_size", "learning_rate", "patch_size", "best_by")
            return dict.fromkeys(trained, "the method 'prior' trains no network")
        if self.method == "image-only":
            return {"patch_size": "the method 'image-only' cuts no patches"}
        return {}


@dataclass(frozen=True)
class ImputeSettings(Settings):
    """How a table is filled."""

    section: ClassVar[str] = "impute"

    batch_size: int = setting(1024, "rows filled at once", at_least=1)
    coverage: float = setting(
        0.9,
        "share of cases in which the stated error radius holds",
        at_least=0.5,
        at_most=0.99,
        metavar="SHARE",
    )
    max_radius: float | None = setting(
        None, "leave cells blank whose error radius is larger than this, px", above=0, metavar="PX"
    )
    corrections: Path | None = setting(
        None, "a person's verdicts on an earlier filling, as the review page saves them"
    )
    harmonise: bool = setting(
        False, "also write a table in which every disputed keypoint stands in one convention"
    )
    parquet: bool = setting(False, "also write the provenance as Parquet (needs pyarrow)")
    fill_occluded: bool = setting(False, "fill points that the table declares hidden, too")
    likelihood: bool = setting(
        False,
        "also state in the filled table how sure each fill is, 0 to 1, in columns NAME_likelihood (COCO and "
        "Label Studio files state it anyway)",
    )


@dataclass(frozen=True)
class FinalModelSettings(Settings):
    """How the final network is trained.

    What is None is the preset's; `complete` fills it in.
    """

    section: ClassVar[str] = "final"
    gone: ClassVar[Mapping[str, str]] = GONE
    presets: ClassVar[Mapping[Preset, Mapping[str, Any]]] = PRESETS

    preset: Preset = setting(
        "default", "network and training: labelfill's own, or a stage of the original work"
    )
    labels: Labels | None = setting(
        None,
        "what is learnt of blank cells: what the filled table says; nothing (observed); nothing, and from "
        "complete rows alone (complete); or what a simple way of filling says (default: the preset's)",
    )
    rows: RowsMode = setting(
        "together",
        "rows of different label sources: together; parallel, by outputs of their own in one network; or "
        "separate, by networks of their own",
    )
    epochs: int | None = setting(
        None,
        "passes over the training rows in the first session (default: the preset's; more where rows are few)",
        at_least=1,
    )
    batch_size: int | None = setting(
        None, "rows per step in the first session (default: the preset's)", at_least=1
    )
    learning_rate: float | None = setting(
        None, "largest learning rate (default: the preset's)", above=0, at_most=1, metavar="RATE"
    )
    second_session_epochs: int | None = setting(
        None,
        "passes of a second session, from the best checkpoint with large batches (0: none; "
        "default: the preset's)",
        at_least=0,
    )
    second_session_batch: int | None = setting(
        None, "rows per step in the second session (default: the preset's)", at_least=1
    )
    best_by: BestBy = setting("rmse", "validation figure that chooses the epoch to keep")
    equalize: Equalize | None = setting(None, "contrast of every image (default: the preset's)")
    flip: Switch | None = setting(None, "learn from mirrored rows too (default: the preset's)")
    most_rows: int | None = setting(
        None,
        "learn from this many training rows at most, drawn at random, and choose the epoch by half as many "
        "(default: all)",
        at_least=2,
    )
    single_convention: bool = setting(False, "train exactly the table's outputs, no further heads per source")
    refine: Refine = setting(
        "auto",
        "a second look, at patches around the answers: auto takes it where it pays on held-out rows",
    )

    def complete(self) -> Self:
        """The same with nothing left to the preset."""
        preset = self.presets[self.preset]
        own = {name: getattr(self, name) for name in preset}
        given = {name: value for name, value in own.items() if value is not None}
        return dataclasses.replace(self, **{**preset, **given})

    @property
    def original(self) -> bool:
        """Whether it is a stage of the original work: its networks, its loss, the table's outputs alone."""
        return self.preset != "default"

    @property
    def refines(self) -> bool:
        """Whether a second look is trained and, if it pays, taken."""
        return self.refine == "auto" and not self.original

    def idle(self) -> Mapping[str, str]:
        idle = {}
        if not self.complete().second_session_epochs:
            idle["second_session_batch"] = "there is no second session without --second-session-epochs"
        if self.original:
            idle["single_convention"] = "the original work's presets train the table's outputs alone"
            idle["refine"] = "the original work's presets answer by the network alone"
        return idle


@dataclass(frozen=True)
class PredictSettings(Settings):
    """How the final network is applied."""

    section: ClassVar[str] = "predict"

    source: str | None = setting(None, "label source whose convention to answer in")
    no_refine: bool = setting(False, "answer by the final network alone, without its second look")
    source_from: str | None = setting(
        None, "table and column that name each row's label source", metavar="TABLE:COLUMN"
    )
    batch_size: int = setting(256, "images per step", at_least=1)
    coverage: float = setting(
        0.9,
        "share of cases in which the stated error radius holds",
        at_least=0.5,
        at_most=0.99,
        metavar="SHARE",
    )

    def check(self) -> None:
        if self.source is not None and self.source_from is not None:
            raise UsageError("source and --source-from exclude each other: give one of the two")
        if self.source_from is not None and not all(self.source_from.rpartition(":")[::2]):
            raise UsageError(f"source_from must be TABLE:COLUMN, not {self.source_from!r}")


@dataclass(frozen=True)
class ReviewSettings(Settings):
    """How fills are reviewed: how large the page may be, who decides, and when reviewers agree."""

    section: ClassVar[str] = "review"

    rows: int = setting(300, "most rows on the page, worst first", at_least=1)
    megabytes: float = setting(
        16.0, "largest page, in million bytes: fewer rows where images are large", above=0, metavar="SIZE"
    )
    reviewer: str | None = setting(None, "who decides: goes into a column of corrections.csv")
    within: float = setting(
        1.0, "with --merge: places at most so many px apart agree", at_least=0, metavar="PX"
    )
    port: int = setting(0, "with --serve: the port to listen at (0: any free one)", at_least=0, at_most=65535)


SECTIONS: tuple[type[Settings], ...] = (
    RunSettings,
    TableSettings,
    KeypointModelSettings,
    ImputeSettings,
    FinalModelSettings,
    PredictSettings,
    ReviewSettings,
)
