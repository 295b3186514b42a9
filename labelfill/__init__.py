"""labelfill completes partially labelled keypoint tables.

Fill a table and look at the result::

    import labelfill

    labelfill.train_keypoint_models("training.csv", "outputs")
    labelfill.impute("training.csv", "filled.csv", "outputs")
    labelfill.review("outputs")
    labelfill.plot("filled.csv", 3)

Look
    read_table               a table and its images, as arrays
    read_filled              a filled table with its sidecar
    plot                     a row with labels, fills and error radii
Fill
    train_keypoint_models    learn from the labels of a table
    impute                   fill the blanks of a table
    KeypointImputer          the same for arrays, like a scikit-learn imputer
Check
    review                   a page for checking doubtful fills
    report                   a page with the results of a run
    evaluate                 scores against a table with the true labels
Use
    train_final              one network for all keypoints
    predict                  find all keypoints in new images
    export                   that network as a file for other programs
Settings
    TableSettings, KeypointModelSettings, ImputeSettings, FinalModelSettings,
    PredictSettings, ReviewSettings, ImageSize
Results
    Dataset, FilledRows, ImputeSummary, Predictions, Evaluation
Errors
    LabelfillError and its subclasses UsageError, DataError, ModelError,
    DeviceError, StorageError

Nothing is printed; warnings go to the logger ``labelfill``. Everything except
the version is loaded on first use, so importing labelfill is fast.
``__init__.pyi`` lists the same names for type checkers.
"""

import importlib
import logging
import os

__version__ = "0.1.0"

_HOMES = {
    "DataError": "errors",
    "Dataset": "data.dataset",
    "DeviceError": "errors",
    "Evaluation": "reports.scores",
    "FilledRows": "reports.result.filled_rows",
    "FinalModelSettings": "settings",
    "ImageSize": "schema",
    "ImputeSettings": "settings",
    "ImputeSummary": "filling.stage",
    "KeypointImputer": "api.imputer",
    "KeypointModelSettings": "settings",
    "LabelfillError": "errors",
    "ModelError": "errors",
    "PredictSettings": "settings",
    "Predictions": "final.predict",
    "ReviewSettings": "settings",
    "StorageError": "errors",
    "TableSettings": "settings",
    "UsageError": "errors",
    "evaluate": "api.looking",
    "export": "api.stages",
    "impute": "api.stages",
    "plot": "api.looking",
    "predict": "api.stages",
    "read_filled": "api.looking",
    "read_table": "api.stages",
    "report": "api.looking",
    "review": "api.looking",
    "train_final": "api.stages",
    "train_keypoint_models": "api.stages",
}

__all__ = ["__version__", *_HOMES]

# Threads of GNU's OpenMP keep a processor busy while they wait for each other, by default for so long that
# PyTorch takes ten times as long where another program needs that processor. Read when PyTorch is loaded.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")

# Whoever uses the library decides where its warnings go.
logging.getLogger("labelfill").addHandler(logging.NullHandler())


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
