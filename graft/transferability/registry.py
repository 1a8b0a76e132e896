"""Transferability scores by name; adding one is a file in this folder and a line in `SCORES`."""

import math

from graft.transferability.base import Score
from graft.transferability.gbc import gbc
from graft.transferability.h_score import h_score
from graft.transferability.knn import knn
from graft.transferability.leep import leep
from graft.transferability.logme import logme
from graft.transferability.nce import nce
from graft.transferability.parc import parc
from graft.transferability.regularized_h_score import regularized_h_score
from graft.transferability.ridge_probe import ridge_probe
from graft.transferability.transrate import transrate

SCORES: dict[str, Score] = {
    "regularized_h_score": Score(regularized_h_score, bounds=(0, math.inf)),
    "logme": Score(logme),
    "leep": Score(leep, needs_head=True, bounds=(-math.inf, 0)),
    "nce": Score(nce, needs_head=True, bounds=(-math.inf, 0)),
    "h_score": Score(h_score, needs_more_examples_than_features=True, bounds=(0, math.inf)),
    "transrate": Score(transrate, bounds=(0, math.inf)),
    "gbc": Score(gbc, examples_per_class=2, bounds=(-math.inf, 0)),
    "parc": Score(parc, examples_per_class=2, bounds=(-100, 100)),
    "knn": Score(knn, examples_per_class=2, bounds=(0, 1)),
    "ridge_probe": Score(ridge_probe, examples_per_class=2, bounds=(0, 1)),
}

# Of the scores that need neither a head nor many labels it is the steadiest: bounded, and
# shrunk where labels are few.
DEFAULT = "regularized_h_score"
