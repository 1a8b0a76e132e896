"""The head solved to convergence: multinomial logistic regression on extracted features."""

from typing import Any

import numpy as np
import numpy.typing as npt

from graft.core.errors import GraftError
from graft.core.imports import lean_imports


def solve_head(
    features: npt.NDArray[Any], labels: npt.NDArray[Any], num_classes: int, c: float
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the kernel (d, classes) and bias (classes,) that minimise the penalised loss.

    The problem is scikit-learn's: C * sum of cross-entropies + 1/2 * ||kernel||^2, on features
    divided by their root mean square, so that C means the same for every network. The division is
    undone in the kernel returned.

    Parameters
    ----------
    features
        (n, d).
    labels
        Class indices, (n,); each of `num_classes` must occur.
    num_classes
        Width of the head.
    c
        Inverse strength of the L2 term, as in scikit-learn.
    """
    with lean_imports():
        from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    missing = sorted(set(range(num_classes)) - set(np.unique(labels).tolist()))
    if missing:
        raise GraftError(f"cannot solve a head for classes without a label: {missing}")
    values = np.asarray(features, np.float64)
    scale = float(np.sqrt(np.mean(values**2))) or 1.0
    # Of two classes scikit-learn keeps one column w, for the second against the first: the
    # columns -w/2 and w/2 give the same probabilities with half the squared norm.
    strength = 2 * c if num_classes == 2 else c
    # Newton's method, its steps by conjugate gradients: L-BFGS takes several times as long on
    # as few examples as a cell has, and ends further from the minimum.
    solver = LogisticRegression(C=strength, solver="newton-cg", tol=1e-8, max_iter=1_000)
    # One thread: BLAS is no slower at these sizes, and twenty times as fast beside other
    # processes, for which its threads would wait in a busy loop.
    with threadpool_limits(1):
        solver.fit(values / scale, labels)
    if num_classes == 2:
        kernel = np.concatenate([-solver.coef_, solver.coef_]).T / 2
        bias = np.concatenate([-solver.intercept_, solver.intercept_]) / 2
    else:
        kernel, bias = solver.coef_.T, solver.intercept_
    return np.asarray(kernel / scale, np.float32), np.asarray(bias, np.float32)
