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

    run_dir: Path = setting(Path("outputs"), "folder for models and the state of the run", metavar="FOLDER")
    device: str = setting(
        "auto", "device to compute on: auto, cpu, cuda, cuda:NUMBER, or mps (untested)", metavar="DEVICE"
    )
    seed: int = setting(0, "random seed", at_least=0, at_most=2**63 - 1, metavar="NUMBER")
    tensorboard: bool = setting(
        False, "also write learning curves for TensorBoard into the run directory (needs tensorboard)"
    )

    backend: Backend = setting(
        "loky",
        "where models are trained and rows filled: processes on this machine, or the workers of "
        "a Dask cluster",
        gone={"ray": "use --backend dask"},
    )
    scheduler: str | None = setting(
        None,
        "address of a Dask scheduler, tcp://HOST:PORT (default: start a local Dask cluster)",
        metavar="ADDRESS",
    )

    def idle(self) -> Mapping[str, str]:
        if self.backend != "dask":
            return {"scheduler": "it is only used with --backend dask"}
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
        "the table: .csv, .csv.gz, a .zip with one .csv inside, or another format (docs/formats.md)",
        metavar="TABLE",
    )
    image_size: ImageSize | None = setting(
        None,
        "height and width of the images in px (default: square, from the number of pixels); for image files "
        "of different sizes, the common frame that they are scaled to (default: their median size, at most "
        "256); without images, the area that contains the labels",
    )
    source_column: str | None = setting(
        None,
        "column that names the label source of each row, or none (default: inferred from "
        "which keypoints are missing)",
    )
    group_column: str | None = setting(
        None, "column whose values keep rows together in the train/test split, such as a subject ID"
    )
    image_folder: Path | None = setting(
        None,
        "folder that image file names are relative to (default: the folder of the table)",
        metavar="FOLDER",
    )
    allow_outside: bool = setting(False, "allow image_path to point outside the table's folder")
    image_column: str | None = setting(
        None, "column with image file names or grey values (default: image_path or Image)"
    )
    missing_value: tuple[float, ...] = setting(
        (),
        "number that marks a missing point in both x and y, such as -1: these points count as blank and are "
        "filled; may be repeated",
    )
    min_likelihood: float | None = setting(
        None,
        "use only points whose NAME_likelihood (or _score, _confidence) is at least this as labels; the "
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
        False, "ignore the EXIF orientation of image files and use their pixels as stored"
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
        None, "labels to ignore: a file with lines row,keypoint, as written by inspect --write-distrust"
    )


@dataclass(frozen=True)
class KeypointModelSettings(Settings):
    """How the keypoint models are trained."""

    section: ClassVar[str] = "keypoint-models"

    method: Method = setting(
        "anchored",
        "what the models use: anchored, the image and the other "
        "labels of the row; image-only; or prior, labels alone",
    )
    mirror_pairs: str = setting(
        "auto",
        "left/right keypoint pairs: auto (from their names), none, or a file with lines LEFT,RIGHT",
        metavar="auto|none|FILE",
    )
    epochs: int = setting(
        20,
        "passes over the training rows (more for small tables); the networks of single keypoints take a "
        "fifth of them, the network that they start from a third",
        at_least=1,
    )
    batch_size: int = setting(64, "rows per training step", at_least=1)
    learning_rate: float = setting(2e-3, "peak learning rate", above=0, at_most=1, metavar="RATE")
    patch_size: int = setting(32, "side of a patch in samples", at_least=8, at_most=256)
    best_by: BestBy = setting("rmse", "validation metric that selects the best epoch")

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

    batch_size: int = setting(1024, "rows filled at a time", at_least=1)
    coverage: float = setting(
        0.9,
        "nominal coverage of the error radii: the share of errors that should lie within them",
        at_least=0.5,
        at_most=0.99,
        metavar="SHARE",
    )
    max_radius: float | None = setting(
        None, "leave points blank if their error radius is larger than this, in px", above=0, metavar="PX"
    )
    corrections: Path | None = setting(None, "decisions from the review page (corrections.csv) to apply")
    harmonise: bool = setting(False, "also write a table with all keypoints in the reference convention")
    parquet: bool = setting(False, "also write the provenance as Parquet (needs pyarrow)")
    fill_occluded: bool = setting(False, "also fill points that the file marks as occluded")
    likelihood: bool = setting(
        False,
        "also write the confidence of each fill, 0 to 1, to columns NAME_likelihood of the filled table "
        "(always written to COCO, SLEAP, JABS and Label Studio files)",
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
        "default", "architecture and training: labelfill's default, or a stage of the original work"
    )
    labels: Labels | None = setting(
        None,
        "labels to learn from: filled (observed labels and fills), observed, complete (only rows without "
        "blanks), or observed labels and the fills of a simple method (default: the preset's)",
    )
    rows: RowsMode = setting(
        "together",
        "how to train on several label sources: together; parallel, with separate outputs in one network; or "
        "separate, with one network per source",
    )
    epochs: int | None = setting(
        None,
        "passes over the training rows in the first session (default: the preset's; more for small tables)",
        at_least=1,
    )
    batch_size: int | None = setting(
        None, "rows per step in the first session (default: the preset's)", at_least=1
    )
    learning_rate: float | None = setting(
        None, "peak learning rate (default: the preset's)", above=0, at_most=1, metavar="RATE"
    )
    second_session_epochs: int | None = setting(
        None,
        "passes in a second session, which starts from the best checkpoint and uses large batches (0: none; "
        "default: the preset's)",
        at_least=0,
    )
    second_session_batch: int | None = setting(
        None, "rows per step in the second session (default: the preset's)", at_least=1
    )
    best_by: BestBy = setting("rmse", "validation metric that selects the best epoch")
    equalize: Equalize | None = setting(None, "contrast equalisation of the images (default: the preset's)")
    flip: Switch | None = setting(None, "augment with mirrored images (default: the preset's)")
    most_rows: int | None = setting(
        None,
        "train on at most this many randomly chosen rows, and select the epoch on half as many "
        "(default: all)",
        at_least=2,
    )
    single_convention: bool = setting(
        False, "one output per keypoint of the table, no additional heads for other conventions"
    )
    refine: Refine = setting(
        "auto",
        "refine predictions from patches around them (the second look): auto keeps it if it "
        "helps on held-out rows",
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
            idle["second_session_batch"] = "it needs --second-session-epochs"
        if self.original:
            idle["single_convention"] = "presets of the original work have one output per keypoint anyway"
            idle["refine"] = "presets of the original work have no second look"
        return idle


@dataclass(frozen=True)
class PredictSettings(Settings):
    """How the final network is applied."""

    section: ClassVar[str] = "predict"

    source: str | None = setting(None, "label source whose convention predictions follow")
    no_refine: bool = setting(False, "use the final network alone, without the second look")
    source_from: str | None = setting(
        None, "table and column that name the label source of each row", metavar="TABLE:COLUMN"
    )
    batch_size: int = setting(256, "images per step", at_least=1)
    coverage: float = setting(
        0.9,
        "nominal coverage of the error radii: the share of errors that should lie within them",
        at_least=0.5,
        at_most=0.99,
        metavar="SHARE",
    )

    def check(self) -> None:
        if self.source is not None and self.source_from is not None:
            raise UsageError("use either --source or --source-from, not both")
        if self.source_from is not None and not all(self.source_from.rpartition(":")[::2]):
            raise UsageError(f"source_from must be TABLE:COLUMN, not {self.source_from!r}")


@dataclass(frozen=True)
class ReviewSettings(Settings):
    """How fills are reviewed: how large the page may be, who decides, and when reviewers agree."""

    section: ClassVar[str] = "review"

    rows: int = setting(300, "maximum number of rows on the page, worst first", at_least=1)
    megabytes: float = setting(
        16.0,
        "maximum size of the page in MB; the page has fewer rows if images are large",
        above=0,
        metavar="SIZE",
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
