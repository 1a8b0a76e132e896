"""The graft itself: the target network takes the source's weights, and a receipt says which."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from graft.core.artifacts import array_sha256
from graft.core.errors import GraftError
from graft.core.network import HEAD, Network, Weights, block_of
from graft.core.settings import Settings, expected, fault
from graft.transferability.registry import SCORES

HeadPolicy = Literal["auto", "transfer", "new"]
Receipt = dict[str, dict[str, Any]]


class TransferSection(Settings):
    """What becomes of the head when the target starts from the source, and how that is judged.

    Attributes
    ----------
    scores
        Names of transferability scores, or all that can be had.
    scored_examples
        At most about so many labelled examples, a stratified share, are scored: time and memory
        of some scores grow with their square.
    """

    head: HeadPolicy = "auto"
    scores: Literal["all"] | tuple[str, ...] = "all"
    scored_examples: int = Field(default=1000, ge=2, le=20_000)

    @model_validator(mode="after")
    def _check_scores(self) -> "TransferSection":
        names = () if self.scores == "all" else self.scores
        for name in names:
            if name not in SCORES:
                raise fault(f"scores: unknown name {name!r}; {expected(name, SCORES)}", "scores")
        if len(set(names)) < len(names):
            received = ", ".join(names)
            raise fault(f"scores: received [{received}]; list each name once", "scores")
        return self


def transfer_weights(
    source: Network,
    target: Network,
    *,
    source_classes: Sequence[str],
    target_classes: Sequence[str],
    head: HeadPolicy,
) -> Receipt:
    """Copy into `target` every tensor of `source` that has the same name and shape there.

    The head is copied too, column by column, where every class of the target is one of the
    source's. Otherwise it is new and starts at zero (as in BiT, Kolesnikov et al. 2020): no
    random draw then sways the result.

    Returns
    -------
    Receipt
        Per tensor of either network its fate (copied, reinitialised or skipped), shapes, and
        the SHA-256 of what the target starts with.

    Raises
    ------
    GraftError
        When nothing was copied, or `head` asks for a transfer that the classes do not allow.
    """
    old, new = source.weights(), target.weights()
    body = {path: value for path, value in old.items() if block_of(path) != HEAD}
    copied = {path: v for path, v in body.items() if path in new and new[path].shape == v.shape}
    if not copied:
        raise GraftError(
            "source and target networks share no tensor: received "
            f"{_listed(body)} from the source; expected some of {_listed(new)}; "
            "train the source with the network that `network` names"
        )
    if _head_is_transferred(source_classes, target_classes, head):
        copied |= _selected_head(old, [source_classes.index(name) for name in target_classes])
    zeros = {path: np.zeros_like(v) for path, v in new.items() if block_of(path) == HEAD}
    target.assign({**zeros, **copied})
    return _receipt(old, target.weights(), frozenset(copied))


def counts(receipt: Receipt) -> dict[str, int]:
    """Return how many tensors were copied, re-initialised and skipped."""
    fates = Counter(row["fate"] for row in receipt.values())
    return {fate: fates[fate] for fate in ("copied", "reinitialised", "skipped")}


def source_probabilities(
    source: Network, receipt: Receipt, features: npt.NDArray[Any]
) -> npt.NDArray[np.float64] | None:
    """Return what the source's own head says of the target's examples, (n, source classes).

    Parameters
    ----------
    features
        Of the target's network at the start, (n, d): the source's own, where its whole body was
        copied.

    Returns
    -------
    array or None
        None where the source has no head, or its body was not copied whole.
    """
    weights = source.weights()
    kernel, bias = weights.get(f"{HEAD}/kernel"), weights.get(f"{HEAD}/bias")
    body = [row["fate"] for path, row in receipt.items() if block_of(path) != HEAD]
    if kernel is None or bias is None or set(body) != {"copied"}:
        return None
    logits = features.astype(np.float64) @ kernel.astype(np.float64) + bias
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def _head_is_transferred(
    source_classes: Sequence[str], target_classes: Sequence[str], head: HeadPolicy
) -> bool:
    missing = [name for name in target_classes if name not in source_classes]
    if head == "transfer" and missing:
        raise GraftError(
            f"transfer.head: transfer, but the source does not know {', '.join(missing)}; "
            f"it knows {', '.join(source_classes)}; use auto or new"
        )
    return head != "new" and not missing


def _selected_head(weights: Weights, columns: list[int]) -> Weights:
    """Return the head's tensors with the columns of the chosen classes, in that order."""
    return {
        path: np.ascontiguousarray(value[..., columns])
        for path, value in weights.items()
        if block_of(path) == HEAD
    }


def _receipt(old: Weights, new: Weights, copied: frozenset[str]) -> Receipt:
    receipt: Receipt = {}
    for path, value in new.items():
        receipt[path] = {
            "fate": "copied" if path in copied else "reinitialised",
            "source_shape": _shape(old.get(path)),
            "target_shape": _shape(value),
            "sha256": array_sha256(value),
        }
    for path, value in old.items():
        if path not in new:
            receipt[path] = {
                "fate": "skipped",
                "source_shape": _shape(value),
                "target_shape": None,
                "sha256": None,
            }
    return receipt


def _shape(array: npt.NDArray[Any] | None) -> list[int] | None:
    return None if array is None else list(array.shape)


def _listed(weights: Weights) -> str:
    return ", ".join(f"{path} {list(value.shape)}" for path, value in weights.items()) or "nothing"
