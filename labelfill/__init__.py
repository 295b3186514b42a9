"""labelfill completes partially labelled keypoint tables.

The same stages as the commands, as functions of paths::

    import labelfill

    labelfill.train_keypoint_models("training.zip", "outputs")
    labelfill.impute("training.zip", "filled.csv", "outputs")
    labelfill.train_final("filled.csv", "outputs")
    found = labelfill.predict("test.zip", "outputs")

and `labelfill.KeypointImputer` for arrays, in the manner of scikit-learn. Nothing is printed; warnings go to
the logger ``labelfill``. Everything but the version is loaded when it is first used, so importing labelfill
costs nothing. ``__init__.pyi`` tells type checkers the same names.
"""

import importlib
import logging

__version__ = "0.1.0"

_HOMES = {
    "DataError": "errors",
    "Dataset": "data.dataset",
    "DeviceError": "errors",
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
    "StorageError": "errors",
    "TableSettings": "settings",
    "UsageError": "errors",
    "export": "api.stages",
    "impute": "api.stages",
    "predict": "api.stages",
    "read_table": "api.stages",
    "train_final": "api.stages",
    "train_keypoint_models": "api.stages",
}

__all__ = ["__version__", *_HOMES]

# Whoever uses the library decides where its warnings go.
logging.getLogger("labelfill").addHandler(logging.NullHandler())


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
