"""Files of a run directory read back: JSON as checked dataclasses, and arrays by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from labelfill.errors import DamagedFile, ModelError
from labelfill.runs._directory import RunDirectory
from labelfill.runs.records import parsed_json, record_of
from labelfill.schema import ImageSize, KeypointSchema

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
Arrays = Mapping[str, NDArray[Any]]

FORMAT = 1


class SchemaFile:
    """What JSON files tell of the keypoints and images that their models are for."""

    keypoints: tuple[str, ...]
    image_size: str
    mirror_shift: float

    def __post_init__(self) -> None:
        ImageSize.parse(self.image_size)

    @property
    def schema(self) -> KeypointSchema:
        """Keypoints, image size and mirror axis."""
        return KeypointSchema(self.keypoints, ImageSize.parse(self.image_size), self.mirror_shift)


def read_json(run: RunDirectory, stage: str, path: str, kind: type[T]) -> T:
    """A dataclass from a JSON file of a run directory, which is of this format.

    Raises
    ------
    ModelError
        If the file is missing, damaged, or another program's or version's.
    """

    def parse(content: bytes) -> T:
        value = parsed_json(content)
        if isinstance(value, dict) and value.get("format", FORMAT) != FORMAT:
            raise DamagedFile(
                f"it has format {value['format']}, newer than this version reads; update labelfill"
            )
        return record_of(kind, value)

    return read(run, stage, path, parse)


def json_bytes(value: DataclassInstance) -> bytes:
    """A dataclass as the JSON file that `read_json` reads."""
    return json.dumps(asdict(value), indent=1).encode()


def read_arrays(run: RunDirectory, stage: str, path: str, parse: Callable[[Arrays], T]) -> T:
    """What `parse` makes of a file's arrays by name; errors as for `read_json`."""

    def arrays(content: bytes) -> T:
        try:
            return parse(load(content))
        except SafetensorError as error:
            raise DamagedFile(str(error)) from error

    return read(run, stage, path, arrays)


def arrays_bytes(arrays: Arrays) -> bytes:
    """Arrays by name as the safetensors file that `read_arrays` reads."""
    return save({name: np.ascontiguousarray(array) for name, array in arrays.items()})


def read(run: RunDirectory, stage: str, path: str, parse: Callable[[bytes], T]) -> T:
    """What `parse` makes of a file; errors as for `read_json`."""
    content = run.read_artefact(stage, path)
    try:
        return parse(content)
    except DamagedFile as error:
        raise ModelError(
            f"{run.path / path} is not a valid file of labelfill ({error}): "
            f"run `labelfill {stage}` again in another --run-dir"
        ) from error
