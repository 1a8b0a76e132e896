import csv
import io
import json

import numpy as np
import pytest

from graft.predicting import Prediction
from graft.prediction_formats import as_csv, as_json, as_table

NAMES = ("cat", "dog", "mountain goat")
FILES = ("photos/a.png", "b.png")
PREDICTIONS = (
    Prediction("photos/a.png", np.array([0.25, 0.625, 0.125], np.float32)),
    Prediction("b.png", np.array([0.0, 0.0, 1.0], np.float32)),
)


def test_ranking_breaks_ties_in_the_order_of_the_classes():
    prediction = Prediction("a.png", np.array([0.2, 0.4, 0.0, 0.4], np.float32))
    assert prediction.ranking() == [1, 3, 0, 2]
    assert prediction.ranking(2) == [1, 3]


def test_table():
    assert "".join(as_table(PREDICTIONS, NAMES, top=2, files=FILES)) == (
        "file          class          probability  runner-up      probability\n"
        "photos/a.png  dog                 62.5 %  cat                 25.0 %\n"
        "b.png         mountain goat      100.0 %  cat                  0.0 %\n"
    )


@pytest.mark.parametrize(
    ("top", "titles"),
    [
        (1, ["class"]),
        (3, ["class", "runner-up", "number 3"]),
        (9, ["class", "runner-up", "number 3"]),
    ],
)
def test_table_with_other_numbers_of_classes(top, titles):
    header = next(as_table([], NAMES, top=top, files=FILES))
    assert header.split("  ")[0] == "file"
    assert [
        cell.strip()
        for cell in header.split("  ")
        if cell.strip() not in ("", "probability", "file")
    ] == titles


def test_table_cuts_nothing_off():
    file = 70 * "a" + ".png"
    prediction = Prediction(file, PREDICTIONS[0].probabilities)
    _, line = as_table([prediction], NAMES, top=1, files=[file])
    assert line == f"{file}  dog                 62.5 %\n"


def test_table_shows_odd_names_on_one_line():
    files = ["a\nb\x1b.png", "日本.png", "bytes\udcff.png"]
    probabilities = PREDICTIONS[0].probabilities
    lines = as_table([Prediction(file, probabilities) for file in files], NAMES, top=1, files=files)
    assert [line.partition("  ")[0] for line in lines][1:] == [
        r"a\nb\x1b.png",
        "日本.png",
        r"bytes\udcff.png",
    ]


def test_json_is_one_document():
    document = json.loads("".join(as_json(PREDICTIONS, NAMES, top=None)))
    assert document == [
        {
            "file": "photos/a.png",
            "class": "dog",
            "probability": 0.625,
            "probabilities": {"dog": 0.625, "cat": 0.25, "mountain goat": 0.125},
        },
        {
            "file": "b.png",
            "class": "mountain goat",
            "probability": 1.0,
            "probabilities": {"mountain goat": 1.0, "cat": 0.0, "dog": 0.0},
        },
    ]


def test_json_of_the_most_likely_class():
    entry = json.loads("".join(as_json(PREDICTIONS[:1], NAMES, top=1)))[0]
    assert entry["probabilities"] == {"dog": 0.625}


def test_json_of_nothing():
    assert "".join(as_json([], NAMES, top=None)) == "[]\n"


def test_csv():
    assert "".join(as_csv(PREDICTIONS, NAMES)) == (
        "file,class,probability,cat,dog,mountain goat\n"
        "photos/a.png,dog,0.625,0.25,0.625,0.125\n"
        "b.png,mountain goat,1.0,0.0,0.0,1.0\n"
    )


def test_csv_quotes_names():
    prediction = Prediction('a,"b"\n.png', PREDICTIONS[0].probabilities)
    rows = list(csv.reader(io.StringIO("".join(as_csv([prediction], NAMES)))))
    assert rows[1][:2] == ['a,"b"\n.png', "dog"]


@pytest.mark.parametrize("pieces", [as_csv, lambda *given: as_json(*given, top=None)])
def test_pieces_come_as_predictions_do(pieces):
    def endless():
        while True:
            yield PREDICTIONS[0]

    stream = pieces(endless(), NAMES)
    assert "photos/a.png" in next(stream) + next(stream)
