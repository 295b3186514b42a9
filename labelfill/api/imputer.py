"""`KeypointImputer`: arrays in, arrays out, in the manner of scikit-learn.

scikit-learn need not be installed. Where it is, the imputer is one of its estimators: it can be cloned, put
into a ``Pipeline`` and asked for output as a data frame.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from labelfill.data.dataset import Dataset, dataset_of_arrays, dataset_of_labels
from labelfill.data.label_checks import refuse_unlikely_labels
from labelfill.errors import DataError
from labelfill.filling.fill import fill
from labelfill.filling.request import FillRequest
from labelfill.networks.devices import Computing, choose_device
from labelfill.regressors.files import load_models
from labelfill.regressors.job import training_job
from labelfill.regressors.stage import train_keypoint_models
from labelfill.runs import RunDirectory
from labelfill.schema import AXES, ImageSize, keypoints_in_header
from labelfill.settings import ImputeSettings, KeypointModelSettings, TableSettings

try:
    from sklearn.base import BaseEstimator, TransformerMixin
    from sklearn.exceptions import NotFittedError
except ImportError:  # what is needed of it, for whoever does without

    class NotFittedError(ValueError, AttributeError):  # type: ignore[no-redef]  # the same name, by intention
        """The imputer was not fitted."""

    class BaseEstimator:  # type: ignore[no-redef]  # as above
        """Parameters by the names that `__init__` gives them."""

        def get_params(self, deep: bool = True) -> dict[str, Any]:
            return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

        def set_params(self, **params: Any) -> BaseEstimator:
            known = self.get_params()
            for name, value in params.items():
                if name not in known:
                    raise ValueError(f"there is no parameter {name!r}; there are {', '.join(known)}")
                setattr(self, name, value)
            return self

    class TransformerMixin:  # type: ignore[no-redef]  # as above
        """Nothing without scikit-learn."""


class KeypointImputer(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Fills blank keypoint coordinates from the labelled ones and the images.

    ``method="prior"`` uses the labelled ones alone and needs no images.

    Parameters
    ----------
    method
        ``anchored`` trains a small network per incomplete keypoint, which uses the image and the labelled
        points; ``prior`` uses the shape of the labelled points alone and is fast; ``image-only`` uses the
        image alone.
    keypoints
        Names, two columns each; None: from the columns ``NAME_x``, ``NAME_y`` of a data frame, else
        ``keypoint0``, ``keypoint1``, ... Names that differ in ``left`` and ``right`` are mirror pairs.
    mirror_pairs
        ``auto`` (from names), ``none``, or a file with lines ``LEFT,RIGHT``.
    missing_value
        A number, or several, that marks a missing point in both coordinates, in addition to NaN.
    find_sources
        Whether to search for groups of rows that were labelled by different people.
    epochs, batch_size, patch_size
        Training of the networks; None: the defaults of the commands.
    coverage
        Nominal coverage of the error radii.
    random_state
        Random seed: the same seed gives the same fill.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:NUMBER`` or ``mps`` (untested).
    verbose
        Draw progress bars with the time left, in notebooks and on terminals.

    Attributes
    ----------
    keypoints_ : tuple of str
        Names of the K keypoints.
    n_features_in_ : int
        Number of columns, 2 K.
    feature_names_in_ : ndarray of str
        Column names, if it was fitted to a data frame.
    radius_ : ndarray (n, K)
        After `transform`, px: the true point lies within this distance of the fill in 90% of cases (or
        `coverage`); NaN where nothing was filled.
    figures_ : dict
        Results of training: sources, convention offsets, and the error in px on held-out labels.

    Notes
    -----
    X is (n, 2 K), in px of the images (not in shares of their size), with x and y of each keypoint in
    adjacent columns, NaN where blank; the centre of the top left pixel is (0, 0). Keypoints with fewer than
    ten labels stay NaN. Observed values are returned unchanged.

    In a ``Pipeline`` images are routed: ``sklearn.set_config(enable_metadata_routing=True)``, then
    ``pipeline.fit(X, images=images)`` and ``pipeline.transform(X, images=images)``.

    Examples
    --------
    >>> import numpy as np
    >>> from labelfill.data.synthetic import draw_table
    >>> drawn = draw_table(100, 5, keypoints=("left_eye_center", "right_eye_center", "nose_tip"),
    ...                    image_size=labelfill.ImageSize(24, 24), gaps=0.2)
    >>> X = drawn.labels.reshape(100, 6)
    >>> imputer = labelfill.KeypointImputer(method="prior", keypoints=drawn.schema.keypoints)
    >>> filled = imputer.fit_transform(X, images=drawn.images)
    >>> bool(np.isnan(X).any()), bool(np.isnan(filled).any())
    (True, False)
    >>> imputer.radius_.shape
    (100, 3)
    """

    # Metadata routing: whoever passes images means them for the imputer.
    __metadata_request__fit: ClassVar = {"images": True}
    __metadata_request__transform: ClassVar = {"images": True}

    def __init__(
        self,
        *,
        method: str = "anchored",
        keypoints: Sequence[str] | None = None,
        mirror_pairs: str = "auto",
        missing_value: float | Sequence[float] | None = None,
        find_sources: bool = True,
        epochs: int | None = None,
        batch_size: int | None = None,
        patch_size: int | None = None,
        coverage: float = 0.9,
        random_state: int = 0,
        device: str = "auto",
        verbose: bool = False,
    ) -> None:
        self.method = method
        self.keypoints = keypoints
        self.mirror_pairs = mirror_pairs
        self.missing_value = missing_value
        self.find_sources = find_sources
        self.epochs = epochs
        self.batch_size = batch_size
        self.patch_size = patch_size
        self.coverage = coverage
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None, *, images: Any = None) -> KeypointImputer:
        """Learn from the labelled coordinates.

        Parameters
        ----------
        X
            (n, 2 K) array or data frame, px; NaN where blank.
        y
            Not used.
        images
            (n, H, W) grey values 0..255; not needed for ``method="prior"``.

        Raises
        ------
        ValueError
            If X or the images have the wrong shape, or contain values that are neither numbers nor NaN; if
            the method needs images and there are none.
        UsageError
            If a parameter has an invalid value.
        """
        settings, table = self._settings(), TableSettings(source_column=None if self.find_sources else "none")
        keypoints, names = self._keypoints_of(X)
        if images is None and settings.method != "prior":
            raise ValueError(
                "images are needed: pass images=, an array (n, height, width) of grey values 0..255, or fill "
                'by the labelled points alone: method="prior"'
            )
        dataset = self._dataset(X, keypoints, images)
        with (
            TemporaryDirectory(prefix="labelfill-", ignore_cleanup_errors=True) as folder,
            RunDirectory.open(Path(folder) / "run") as run,
        ):
            try:
                job = training_job(dataset, settings, table=table, device=self.device, seed=self.random_state)
            except DataError as error:
                raise ValueError(str(error)) from error
            figures = train_keypoint_models(run, job, progress=self.verbose)
            self._models = load_models(run, choose_device(self.device))
        self.keypoints_, self.n_features_in_ = keypoints, 2 * len(keypoints)
        self.figures_ = {name: value for name, value in figures.items() if name != "state"}
        if names is not None:
            self.feature_names_in_ = np.array(names, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        return self

    def transform(self, X: Any, *, images: Any = None) -> NDArray[np.floating[Any]]:
        """X with its blank coordinates filled; sets `radius_`, their error radii.

        Parameters
        ----------
        X
            (n, 2 K), px; NaN where blank. It is not changed.
        images
            (n, H, W) grey values 0..255, of the size used in `fit`; None if it was fitted without.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If X or the images have another shape than in `fit`.
        """
        if not hasattr(self, "keypoints_"):
            raise NotFittedError(
                f"this {type(self).__name__} is not fitted yet; call fit with X and images first"
            )
        shape = np.shape(X)
        if len(shape) == 2 and shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input"
            )
        _, names = self._keypoints_of(X)
        fitted_names = getattr(self, "feature_names_in_", None)
        if names is not None and fitted_names is not None and list(names) != list(fitted_names):
            raise ValueError("the feature names of X are not those, in the order, that it was fitted to")
        ensemble = self._models.ensemble
        if images is None and (ensemble.has_networks or self._models.audit):
            raise ValueError("images are needed: it was fitted to look at them; pass images=")
        if images is not None and "without images" in self.figures_:
            raise ValueError("it was fitted without images: leave images out, or fit it with images")
        dataset = self._dataset(X, self.keypoints_, images, ensemble.schema.image_size)
        if dataset.schema.image_size != ensemble.schema.image_size:
            raise ValueError(
                f"the images are {dataset.schema.image_size}, but it was fitted to images of "
                f"{ensemble.schema.image_size}"
            )
        request = FillRequest.of(dataset, self._models, ImputeSettings(coverage=self.coverage))
        fills = fill(request, Computing(choose_device(self.device), self.verbose)).fills
        observed = dataset.table.labels
        filled = np.where(np.isnan(observed), fills.xy, observed).reshape(len(observed), -1)
        self.radius_ = np.where(fills.filled, fills.radius, np.nan)
        kind = np.asarray(X).dtype
        return filled.astype(kind) if kind in (np.float32, np.float64) else filled

    def fit_transform(self, X: Any, y: Any = None, *, images: Any = None) -> NDArray[np.floating[Any]]:
        """`fit` and `transform` the same data."""
        return self.fit(X, y, images=images).transform(X, images=images)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names of the columns that `transform` returns: ``NAME_x``, ``NAME_y`` of each keypoint."""
        if not hasattr(self, "keypoints_"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet")
        if input_features is not None:
            if len(input_features) != self.n_features_in_:
                raise ValueError(f"input_features should have {self.n_features_in_} names")
            return np.asarray(input_features, dtype=object)
        return np.array([f"{k}_{axis}" for k in self.keypoints_ for axis in AXES], dtype=object)

    def _settings(self) -> KeypointModelSettings:
        chosen: dict[str, Any] = {"method": self.method, "mirror_pairs": self.mirror_pairs}
        for name in ("batch_size", "epochs", "patch_size"):
            if getattr(self, name) is not None:
                chosen[name] = getattr(self, name)
        return KeypointModelSettings(**chosen)

    def _keypoints_of(self, X: Any) -> tuple[tuple[str, ...], list[str] | None]:
        """Names of X's keypoints, and of its columns if it is a data frame with names."""
        columns = getattr(X, "columns", None)
        if columns is not None and all(isinstance(column, str) for column in columns):
            names = list(columns)
            try:
                keypoints = keypoints_in_header(names)
            except DataError as error:
                raise ValueError(f"X: {error}") from error
            if names != [f"{keypoint}_{axis}" for keypoint in keypoints for axis in AXES]:
                raise ValueError(
                    f"the columns of X are {', '.join(names[:6])}, ...; "
                    "expected pairs NAME_x, NAME_y side by side"
                )
            return keypoints, names
        shape = np.shape(X)
        if len(shape) != 2 or shape[1] % 2 or not shape[1]:
            raise ValueError(f"X has the shape {shape}; expected (n, 2 K): x and y of each keypoint")
        if self.keypoints is None:
            return tuple(f"keypoint{k}" for k in range(shape[1] // 2)), None
        if len(self.keypoints) != shape[1] // 2:
            raise ValueError(f"X has {shape[1]} columns, but {len(self.keypoints)} keypoints are named")
        return tuple(self.keypoints), None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _dataset(
        self, X: Any, keypoints: tuple[str, ...], images: Any, frame: ImageSize | None = None
    ) -> Dataset:
        try:
            labels = np.array(X, dtype=np.float64).reshape(len(X), -1, 2)
        except (TypeError, ValueError) as error:
            raise ValueError(f"X is not an array of numbers: {error}") from error
        if np.isinf(labels).any():
            raise ValueError("X holds infinite values; expected numbers, or NaN where blank")
        for value in () if self.missing_value is None else np.atleast_1d(self.missing_value):
            labels[(labels == value).all(axis=2)] = np.nan
        try:
            if images is None:
                dataset = dataset_of_labels(labels, keypoints, "X", frame)
            else:
                dataset = dataset_of_arrays(labels, keypoints, np.asarray(images), "images")
            refuse_unlikely_labels(dataset)
        except DataError as error:
            raise ValueError(_as_parameters(str(error))) from error
        return dataset


def _as_parameters(sentence: str) -> str:
    """A sentence on options of commands with the parameters that are meant."""
    return re.sub(r"--missing-value (\S+)", r"missing_value=\1", sentence).replace(
        "pass --coordinates share to have them read and filled so", "multiply them by the images' size"
    )


__all__ = ["KeypointImputer", "NotFittedError"]
