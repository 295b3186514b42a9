"""Output files that belong together and may lie outside the run directory (a table and its sidecar)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from labelfill.runs._files import finish_staged, remove_orphans_of, replace, sha256_file, staged_write


class StagedOutputs:
    """Temporary files beside `paths`, put into their places one after the other by `publish`."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)
        self.files: list[BinaryIO] = []
        self._temporary: list[Path] = []
        self._open = ExitStack()

    def __enter__(self) -> StagedOutputs:
        with ExitStack() as opening:
            for path in self.paths:
                remove_orphans_of(path)
                file, temporary = opening.enter_context(staged_write(path))
                self.files.append(file)
                self._temporary.append(temporary)
            self._open = opening.pop_all()
        return self

    def __exit__(self, *error: object) -> bool | None:
        return self._open.__exit__(*error)  # type: ignore[arg-type]  # passed on as they came

    def complete(self) -> list[str]:
        """Bring all files to the disk; their SHA-256 in the order of `paths`."""
        for file, path in zip(self.files, self.paths, strict=True):
            finish_staged(file, path)
        return [sha256_file(temporary) for temporary in self._temporary]

    def publish(self) -> None:
        for temporary, path in zip(self._temporary, self.paths, strict=True):
            replace(temporary, path)
