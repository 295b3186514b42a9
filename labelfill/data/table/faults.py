"""What can be wrong with the shape of a table, in sentences; `where` names file, row and line."""

from __future__ import annotations

from labelfill.errors import DataError, shown


def wrong_number_of_fields(
    where: str,
    record: bytes,
    count: int,
    columns: tuple[str, ...],
    delimiter: str,
    *,
    lines: int,
    cut_short: bool,
) -> DataError:
    """A record of `count` fields that runs over so many lines; `cut_short`: the table ends with it."""
    found = f"{where}: found {count} field{'s' * (count != 1)}, expected {len(columns)} as in the header"
    if cut_short and count < len(columns):
        return DataError(
            f"{found}, and the file ends there, in the middle of the row: it was cut short; "
            "copy or download it again, or remove its last row"
        )
    if lines > 1:
        return DataError(
            f"{found}, in a row that runs over {lines} lines; a quote in it is missing or one too many"
        )
    if count < len(columns):
        return DataError(
            f"{found}; complete the row: {shown(columns[count])} is the first column without a field"
        )
    if delimiter == "," and b"." not in record:
        return DataError(
            f"{found}; if its numbers have decimal commas write them with a dot, "
            "else put text that contains ',' in quotes"
        )
    return DataError(f"{found}; put text that contains {delimiter!r} in quotes, or remove what is surplus")


def record_too_long(where: str, bound: int, *, has_quotes: bool) -> DataError:
    """A record longer than `bound` bytes."""
    reason = "perhaps a quote in it is not closed" if has_quotes else "is this a table?"
    return DataError(
        f"{where}: the row is longer than {bound >> 20} MB, the most that is read as one row; {reason}"
    )


def too_many_blank_lines(where: str, bound: int) -> DataError:
    """The refusal of a table of next to nothing but blank lines."""
    return DataError(f"{where}: {bound >> 20} MB of blank lines and more; remove them, or is this no table?")
