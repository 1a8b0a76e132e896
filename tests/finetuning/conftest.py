"""What the tests of fine-tuning share."""

import pytest

from graft.finetuning.finetuner import Finetuner


@pytest.fixture
def count_trainings(monkeypatch):
    """A function to call when counting is to begin; it returns the growing list of set sizes."""

    def begin():
        trained = []
        train = Finetuner.train

        def counting(self, inputs, *given, **rest):
            trained.append(len(inputs))
            return train(self, inputs, *given, **rest)

        monkeypatch.setattr(Finetuner, "train", counting)
        return trained

    return begin
