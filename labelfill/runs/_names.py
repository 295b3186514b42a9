"""Keypoint names as file names: one-to-one, on every file system."""

from __future__ import annotations

import hashlib

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-")
_RESERVED = frozenset(
    ["con", "prn", "aux", "nul", *(f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789")]
)
_LONGEST = 150


def safe_file_name(name: str) -> str:
    """A file name for any name, different names giving different file names.

    Lower-case letters, digits, ``_`` and ``-`` stay; a capital ``L`` becomes ``=l`` (so that names
    which differ in case alone stay apart where the file system ignores case); any other character
    becomes ``~`` and two hexadecimal digits per UTF-8 byte. Names that Windows reserves have their
    first letter written that way, and the end of a very long name is replaced by ``~~`` and its SHA-256.
    """
    if not name:
        return "~"
    safe = "".join(_safe(character) for character in name)
    if safe in _RESERVED:
        safe = _hex(safe[0]) + safe[1:]
    if len(safe) > _LONGEST:
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        safe = f"{safe[: _LONGEST - 66]}~~{digest}"
    return safe


def _safe(character: str) -> str:
    if character in _PLAIN:
        return character
    if "A" <= character <= "Z":
        return "=" + character.lower()
    return _hex(character)


def _hex(character: str) -> str:
    return "".join(f"~{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))
