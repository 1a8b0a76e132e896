"""Predictions as text, piece by piece: a table, a JSON document, a CSV file."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence

from graft.predicting import Prediction

_DECIMALS = 6
_WIDEST_FILE_COLUMN = 60


def as_table(
    predictions: Iterable[Prediction],
    class_names: Sequence[str],
    *,
    top: int,
    files: Sequence[str],
) -> Iterator[str]:
    """Yield the lines of a table with the `top` classes of each file.

    `files` sets the width of the first column. Nothing is cut off: a longer name moves the rest
    of its line to the right.
    """
    top = min(top, len(class_names))
    longest = max(_width(file) for file in files)
    widths = [min(longest, _WIDEST_FILE_COLUMN)]
    titles = ["class", "runner-up", *(f"number {place}" for place in range(3, top + 1))]
    for title in titles[:top]:
        widths += [max(len(title), *map(_width, class_names)), len("probability")]
    header = [cell for title in titles[:top] for cell in (title, "probability")]
    yield _line(["file", *header], widths)
    for prediction in predictions:
        cells = [prediction.file]
        for label in prediction.ranking(top):
            cells += [class_names[label], f"{100 * prediction.probabilities[label]:9.1f} %"]
        yield _line(cells, widths)


def as_json(
    predictions: Iterable[Prediction], class_names: Sequence[str], *, top: int | None
) -> Iterator[str]:
    """Yield one array with an object per file: its class, and the `top` or all probabilities."""
    opening = "["
    for prediction in predictions:
        ranking = prediction.ranking()
        entry = {
            "file": prediction.file,
            "class": class_names[ranking[0]],
            "probability": _probability(prediction, ranking[0]),
            "probabilities": {
                class_names[label]: _probability(prediction, label) for label in ranking[:top]
            },
        }
        yield f"{opening}\n{json.dumps(entry)}"
        opening = ","
    yield "[]\n" if opening == "[" else "\n]\n"


def as_csv(predictions: Iterable[Prediction], class_names: Sequence[str]) -> Iterator[str]:
    """Yield a header and one row per file, with a column for every class."""
    yield _csv_row(["file", "class", "probability", *class_names])
    for prediction in predictions:
        best = prediction.ranking(1)[0]
        every = [_probability(prediction, label) for label in range(len(class_names))]
        yield _csv_row([prediction.file, class_names[best], every[best], *every])


def _probability(prediction: Prediction, label: int) -> float:
    return round(float(prediction.probabilities[label]), _DECIMALS)


def _csv_row(cells: Sequence[object]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (
        cell + " " * (width - _width(cell))
        for cell, width in zip(map(_printable, cells), widths, strict=True)
    )
    return "  ".join(padded).rstrip() + "\n"


def _width(text: str) -> int:
    """Return how many columns of a terminal `text` takes: wide characters take two."""
    from rich.cells import cell_len

    return cell_len(_printable(text))


def _printable(text: str) -> str:
    """Escape what would break a line or command the terminal."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in text
    )
