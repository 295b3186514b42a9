"""What a person who meets the exported network should know of it (model cards, Mitchell et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from labelfill import __version__
from labelfill.final.model import STAGE, FinalModel
from labelfill.regressors.unit_names import STAGE as MODELS_STAGE
from labelfill.runs import RunDirectory


@dataclass(frozen=True)
class ExportAbout:
    """What an exported network answers.

    Attributes
    ----------
    convention
        Whose labels it answers like.
    coverage
        The share of cases in which its radii hold.
    """

    keypoints: tuple[str, ...]
    image_size: str
    convention: str
    coverage: float


def model_card(
    run: RunDirectory, model: FinalModel, name: str, how: str, about: ExportAbout, difference: float
) -> str:
    """The card as Markdown.

    Parameters
    ----------
    name
        The file beside which it lies.
    difference
        By how many px the file answers differently from the network it was made of.
    """
    size, keypoints = model.schema.image_size, model.schema.keypoints
    parts = [
        f"# {name}",
        "",
        f"Finds {len(keypoints)} keypoint{'s' * (len(keypoints) != 1)} in a grey image of {size} px "
        f"(height x width). Made by labelfill {__version__}, torch {torch.__version__}.",
        "",
        "## Use",
        "",
        f"Input `images`: uint8 (batch, {size.height}, {size.width}), grey 0..255, any batch. Output `xy`: "
        f"float32 (batch, {len(keypoints)}, 2), px, x first, the centre of the top left pixel at (0, 0), not "
        f"clipped to the image. Output `radius`: float32 (batch, {len(keypoints)}), px: the point lies "
        f"within it in {about.coverage:.0%} of cases"
        + ("." if model.calibration is not None else "; NaN here, for want of held-out rows."),
        "",
        *(line.replace("'NAME'", repr(name)) for line in (_ONNX if how == "onnx" else _TORCH)),
        "",
        "Contrast and brightness are evened out inside"
        + ("" if model.partners is None else ", and the answer is averaged with that for the mirrored image")
        + "."
        + ("" if model.refiner is None else _SECOND_LOOK)
        + (_FRAMED if run.framed else ""),
        "",
        "Keypoints, in order: " + ", ".join(keypoints) + ".",
        "",
        *_data(run, model, about),
        *_accuracy(run),
        "The file's coordinates differ from those of the network it was made of by at most "
        f"{difference:.4f} px.",
        "",
        *_LIMITS,
    ]
    return "\n".join(parts)


_ONNX = [
    "```python",
    "session = onnxruntime.InferenceSession('NAME')",
    "xy, radius = session.run(['xy', 'radius'], {'images': images})",
    "```",
]
_TORCH = [
    "```python",
    "network = torch.export.load('NAME').module()  # only files that you trust",
    "xy, radius = network(torch.from_numpy(images))",
    "```",
]
_SECOND_LOOK = (
    " What the network of the whole image finds is looked at once more: small networks see a patch around "
    "each point and move it."
)
_FRAMED = (
    " The training images differed in size; each was scaled to fit this frame and centred in it, its edge "
    "continued. Do the same with yours, and take the answer back."
)
_LIMITS = [
    "## Limits",
    "",
    "- For images like those of the training table: the same kind of subject, seen alike, about as large in "
    "the image. It answers for any image, also for one that shows no such subject.",
    "- One subject per image; whether a point is hidden is not said.",
    "- A radius is right on average over images like the training table's, not for each kind of image.",
    "- Where people's labels are systematically off, so are the answers.",
    "",
]


def _data(run: RunDirectory, model: FinalModel, about: ExportAbout) -> list[str]:
    learnt = run.stages.get(MODELS_STAGE, {}).get("results", {})
    table = run.input
    lines = [
        "## Data and conventions",
        "",
        f"- Trained on {Path(table.path).name} (SHA-256 of its text {table.sha256[:12]}...), "
        f"{learnt.get('rows', 0):,} rows; blank coordinates were filled first, doubtful fills counting less.",
        f"- Answers in the convention: {about.convention}.",
    ]
    sources = learnt.get("sources", {})
    if len(sources) > 1:
        named = ", ".join(f"{source} ({rows:,} rows)" for source, rows in sources.items())
        lines.append(f"- Label sources: {named}.")
    for offset in learnt.get("convention offsets", []):
        x, y = offset["offset"]
        lines.append(
            f"- Source {offset['source']} marks {offset['keypoint']} {x:+.1f} px in x and {y:+.1f} px in y "
            f"from where source {offset['reference']} does."
        )
    return [*lines, ""]


def _accuracy(run: RunDirectory) -> list[str]:
    results = run.stages[STAGE].get("results", {})
    part = next((part for part in ("evaluation", "validation") if f"{part} rmse" in results), None)
    if part is None:
        return ["## Accuracy", "", "Not measured: no held-out row has a label.", ""]
    lines = [
        "## Accuracy",
        "",
        f"On {results[f'{part} rows']:,} {part} rows that the network did not learn from, over observed "
        f"labels: RMSE {results[f'{part} rmse']:.2f} px, MAE {results[f'{part} mae']:.2f} px per "
        "coordinate.",
        "",
    ]
    coverage = results.get(f"{part} coverage")
    if coverage is not None:
        lines += [f"{coverage:.0%} of these points lie within their 90% radius.", ""]
    lines += ["| keypoint | labels | RMSE, px | MAE, px |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {one['labels']:,} | {one['rmse']:.2f} | {one['mae']:.2f} |"
        for name, one in results[f"{part} keypoints"].items()
    ]
    return [*lines, ""]
