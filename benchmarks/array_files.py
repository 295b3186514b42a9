"""Compares files that hold arrays: weights, caches, Parquet tables and exported networks."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray[Any, Any]]
Found = tuple[str, object, object]


def compare_arrays(kind: str, old: bytes, new: bytes) -> list[Found] | None:
    """What differs between two files: place, old and new; None where the suffix is not known."""
    reader = _READERS.get(kind)
    return None if reader is None else list(_compare(reader(old), reader(new)))


def _compare(old: Arrays, new: Arrays) -> Iterator[Found]:
    for name in sorted({*old, *new}):
        if name not in new:
            yield name, "is there", "is not there"
        elif name not in old:
            yield name, "is not there", "is there"
        elif (old[name].dtype, old[name].shape) != (new[name].dtype, new[name].shape):
            yield name, f"{old[name].dtype}{old[name].shape}", f"{new[name].dtype}{new[name].shape}"
        else:
            yield from _compare_values(name, old[name], new[name])


def _compare_values(name: str, old: np.ndarray[Any, Any], new: np.ndarray[Any, Any]) -> Iterator[Found]:
    differs = old != new
    if old.dtype.kind == "f":
        differs &= ~(np.isnan(old) & np.isnan(new))
    places = np.argwhere(differs)
    if len(places):
        first = tuple(places[0].tolist())
        yield f"{name}{list(first)} and {len(places) - 1} more of {old.size}", old[first], new[first]


def _safetensors(data: bytes) -> Arrays:
    import torch
    from safetensors.torch import load

    found = {}
    for name, tensor in load(data).items():
        # numpy has no bfloat16: its bits are compared.
        plain = tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor
        found[f"{name} ({tensor.dtype})"] = plain.numpy()
    return found


def _npz(data: bytes) -> Arrays:
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return dict(file)


def _npy(data: bytes) -> Arrays:
    return {"array": np.load(io.BytesIO(data), allow_pickle=False)}


def _parquet(data: bytes) -> Arrays:
    """Columns as texts that keep the last digit, without a provenance's ``model``, which covers versions."""
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(data))
    names = [
        name for name in table.column_names if not (name == "model" and "keypoint" in table.column_names)
    ]
    found = {f"{name} ({table.schema.field(name).type})":
             np.array([repr(value) for value in table.column(name).to_pylist()], dtype=str)
             for name in names}  # fmt: skip
    return {name: values.astype("U200") for name, values in found.items()} | {
        "columns": np.array(table.column_names, dtype="U200")
    }


def _onnx(data: bytes) -> Arrays:
    """Weights, the operations by their order, and answers to some images."""
    import onnx
    import onnxruntime
    from onnx import numpy_helper

    model = onnx.load_from_string(data)
    found = {f"weights of {one.name}": numpy_helper.to_array(one) for one in model.graph.initializer}
    found["operations"] = np.array([node.op_type for node in model.graph.node], dtype="U64")
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    asked = session.get_inputs()[0]
    images = _images([size if isinstance(size, int) else 3 for size in asked.shape])
    names = [one.name for one in session.get_outputs()]
    answers = session.run(names, {asked.name: images})
    return found | {f"answer {name}": value for name, value in zip(names, answers, strict=True)}


def _pt2(data: bytes) -> Arrays:
    """Weights and answers to some images."""
    import torch

    program = torch.export.load(io.BytesIO(data))
    found = {f"weights of {name}": value.detach().numpy() for name, value in program.state_dict.items()}
    size = list(program.example_inputs[0][0].shape) if program.example_inputs else [3, 48, 48]
    with torch.no_grad():
        answers = program.module()(torch.from_numpy(_images(size)))
    given = answers if isinstance(answers, tuple) else (answers,)
    return found | {f"answer {i}": value.numpy() for i, value in enumerate(given)}


def _images(size: list[int]) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)


_READERS: dict[str, Callable[[bytes], Arrays]] = {
    ".safetensors": _safetensors,
    ".npz": _npz,
    ".npy": _npy,
    ".parquet": _parquet,
    ".onnx": _onnx,
    ".pt2": _pt2,
}
