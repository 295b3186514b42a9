"""Whole numbers in 0..255 as text, to bytes: many at once in numpy, or one by one with what is wrong."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from labelfill.arrays import Bytes, Positions
from labelfill.errors import shown

# So much text at once in numpy: with more the cache overflows, with less the calls take over.
_BYTES_AT_ONCE = 1 << 19
_LARGEST = 255
_SPACE, _ZERO = ord(" "), ord("0")
_WHOLE = re.compile(rb"\+?0*(\d{1,3})(?:\.0*)?")
_WORD = re.compile(rb"[^ ]+")
# The two bytes before a last digit, and the one behind it, are looked at wherever the digit stands.
_BEFORE, _BEHIND = 2, 1


class UnusableError(ValueError):
    """What is wrong with a row's pixels or image file; the place is added by whoever knows it."""


class Decoder:
    """Decodes texts of numbers of up to three digits and spaces, many at once; keeps its working memory.

    Every byte is taken for the last digit of a number, in a few passes of numpy over all bytes, and
    of these answers those at last digits are kept: the faster, the better the texts and five times
    their size of working memory stay in the processor's cache.
    """

    def __init__(self) -> None:
        self._text = self._digits = self._answers = np.empty(0, np.uint8)
        self._is_digit = self._is_last = self._has_tens = np.empty(0, bool)
        self._bytes_at_once = _BYTES_AT_ONCE

    def decode_rows(self, buffer: bytes, starts: Positions, ends: Positions, pixels: int) -> Bytes:
        """(m, pixels): images of the first m texts ``buffer[start:end]``, good until the next call.

        The text after them, if any, needs a closer look.
        """
        texts = self._first_texts(buffer, starts, ends)
        decoded = self.decode(texts)
        if decoded is not None and all(count == pixels for count in decoded[1]):
            return decoded[0].reshape(-1, pixels)
        self._bytes_at_once = 0  # there are such texts here: one by one from now on
        if len(texts) == 1:
            return np.empty((0, pixels), np.uint8)
        return self.decode_rows(buffer, starts[:1], ends[:1], pixels)

    def _first_texts(self, buffer: bytes, starts: Positions, ends: Positions) -> list[memoryview]:
        sizes = np.cumsum(ends - starts)
        count = max(1, int(np.searchsorted(sizes, self._bytes_at_once, side="right")))
        whole = memoryview(buffer)
        return [
            whole[start:end]
            for start, end in zip(starts[:count].tolist(), ends[:count].tolist(), strict=True)
        ]

    def decode(self, texts: Sequence[memoryview]) -> tuple[Bytes, list[int]] | None:
        """Pixels of all texts (at least one), and how many each text has; None for any other text."""
        text, places = self._lay_out(texts)
        n = len(text)
        digits = np.bitwise_and(text, np.uint8(15), out=self._digits[:n])  # 0 of a space
        answers = np.bitwise_xor(text, np.uint8(_ZERO), out=self._answers[:n])  # up to 9 of a digit
        if answers.max() > _ZERO ^ _SPACE or digits.max() > 9:
            return None
        is_digit = np.greater(text.view(np.int8), np.int8(_SPACE), out=self._is_digit[:n])
        has_tens = np.logical_and(is_digit[:-1], is_digit[1:], out=self._has_tens[: n - 1])
        inner = n - _BEFORE - _BEHIND
        four = np.logical_and(has_tens[:-2], has_tens[2:], out=answers[:inner].view(bool))
        if four.any():
            return None
        # From here on everything is of the bytes that have two before them and one behind.
        is_last = np.greater(
            is_digit[_BEFORE:-_BEHIND].view(np.int8), is_digit[_BEFORE + _BEHIND :].view(np.int8),
            out=self._is_last[:inner],
        )  # fmt: skip
        hundreds = self._has_tens[1 : n - 2].view(np.uint8)
        np.multiply(digits[: -_BEFORE - _BEHIND], hundreds, out=hundreds)
        if hundreds.max(initial=0) > 2:
            return None
        answers = np.multiply(digits[1:-2], np.uint8(10), out=answers[:inner])
        answers += digits[_BEFORE:-_BEHIND]
        hundreds *= np.uint8(100)
        answers += hundreds
        if np.less(answers, hundreds, out=digits[:inner].view(bool)).any():  # above 255 the sum wraps around
            return None
        return answers.compress(is_last), [int(np.count_nonzero(is_last[a:b])) for a, b in places]

    def _lay_out(self, texts: Sequence[memoryview]) -> tuple[Bytes, list[tuple[int, int]]]:
        """The texts with spaces before, between and behind them; begin and end of each, less `_BEFORE`."""
        size = _BEFORE + sum(map(len, texts)) + len(texts)
        if size > len(self._text):
            self._text, self._digits, self._answers = (np.empty(size, np.uint8) for _ in range(3))
            self._is_digit, self._is_last, self._has_tens = (np.empty(size, bool) for _ in range(3))
        self._text[:_BEFORE] = _SPACE
        target, places, begin = self._text.data, [], _BEFORE
        for text in texts:
            end = begin + len(text)
            target[begin:end] = text
            target[end] = _SPACE
            places.append((begin - _BEFORE, end - _BEFORE))
            begin = end + 1
        return self._text[:size], places


def decode_one_by_one(text: bytes) -> Bytes:
    """Pixels of any text; takes ``12.0`` and ``0012`` too, and says what is wrong with the rest.

    Raises
    ------
    UnusableError
        At the first word that is not a whole number in 0..255.
    """
    pixels = bytearray()
    for number, match in enumerate(
        _WORD.finditer(text)
    ):  # a list of words would take fifty times their space
        word = match[0]
        whole = _WHOLE.fullmatch(word)
        if whole is None or int(whole[1]) > _LARGEST:
            raise UnusableError(
                f"pixel {number} is {shown(word)}, expected a whole number in 0..{_LARGEST}; "
                "correct it or remove the row"
            )
        pixels.append(int(whole[1]))
    return np.frombuffer(pixels, np.uint8)
