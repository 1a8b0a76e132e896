import subprocess
import sys
from pathlib import Path

import pytest

from graft import params
from graft.core.errors import GraftError

ROOT = Path(__file__).parent.parent
COMMITTED = [ROOT / "params.yaml", *sorted(ROOT.glob("presets/*.yaml"))]

GOOD = """\
seed: 0
sources:
  low:
    dataset: {name: handwritten-digits}
    classes: [0, 1, 2]
source:
  candidates: [low]
target:
  dataset: {name: handwritten-digits}
  classes: all
  labels_per_class: [1, 5, all]
network: {name: small_cnn}
train_source: {steps: 10, learning_rate: 1e-3}
methods:
  probe:
    strategy: {name: probe}
  l2_sp:
    strategy: {name: full}
    penalty: {name: l2_sp, strength: 0.01}
finetune:
  methods: [probe, l2_sp]
  folds: 3
  training: {steps: 5, learning_rate: 0.1}
scratch:
  learning_rate: null
evaluate:
  method: auto
  headline_budget: smallest
transfer: {}
compute: {}
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Write params.yaml with some of its text replaced, and load it."""
    monkeypatch.chdir(tmp_path)

    def with_changes(*changes):
        text = GOOD
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        path = Path("params.yaml")
        path.write_text(text, encoding="utf-8")
        return params.load(path)

    return with_changes


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_what_is_committed_is_valid(path):
    assert params.load(path).source.candidates


def test_what_is_not_given_has_its_default(load):
    given = load()
    assert given.seed == 0
    assert given.sources["low"].classes == ("0", "1", "2")
    assert given.target.classes is None
    assert given.target.labels_per_class == (1, 5, "all")
    assert (given.target.repeats, given.target.test_fraction) == (5, 0.5)
    assert (given.source.validation_fraction, given.transfer.head) == (0.1, "auto")
    assert (given.transfer.scores, given.transfer.scored_examples) == ("all", 1000)
    assert given.train_source.learning_rate == 0.001
    assert (given.train_source.optimizer, given.train_source.batch_size) == ("adam", 32)
    assert given.methods["probe"].batch_norm == "frozen"
    assert given.methods["l2_sp"].penalty.scope == "kernels"
    assert (given.evaluate.confidence, given.evaluate.margin) == (0.95, 0.01)


def test_the_control_trains_everything_from_random_weights(load):
    method = load(("learning_rate: null", "learning_rate: 0.2")).scratch.method
    assert method.strategy.name == "scratch"
    assert (method.batch_norm, method.learning_rate, method.penalty) == ("adapt", 0.2, None)


def test_the_control_may_have_a_penalty_of_its_own(load):
    change = ("learning_rate: null", "penalty: {name: l2, strength: 0.1}")
    assert load(change).scratch.method.penalty.strength == 0.1


def test_the_control_may_train_longer(load):
    given = load(("learning_rate: null", "steps: 12"))
    assert given.scratch.recipe(given.finetune.training).steps == 12
    assert load().scratch.recipe(given.finetune.training) == given.finetune.training


def test_one_source_and_one_method_need_no_folds(load):
    given = load(("methods: [probe, l2_sp]", "methods: [probe]"), ("folds: 3", "folds: 0"))
    assert given.finetune.folds == 0


def test_a_named_method_of_one_source_needs_no_folds(load):
    given = load(("method: auto", "method: probe"), ("folds: 3", "folds: 0"))
    assert given.evaluate.method == "probe"


GRIDS = (
    ("{name: probe}", "{name: probe}\n    grid: {c: [0.1, 1]}"),
    ("strength: 0.01}", "strength: 0.01}\n    grid: {strength: [0.1, 0.01]}"),
    ("learning_rate: null", "grid: {learning_rate: [0.1, null]}"),
)


def test_every_arm_may_have_a_grid(load):
    given = load(*GRIDS)
    assert given.methods["probe"].combinations == ({"c": 0.1}, {"c": 1})
    assert given.methods["l2_sp"].combinations == ({"strength": 0.1}, {"strength": 0.01})
    control = ({"learning_rate": 0.1}, {"learning_rate": None})
    assert given.scratch.combinations == given.scratch.method.combinations == control


def test_a_method_that_is_not_in_use_may_have_a_grid_of_any_size(load):
    unused = (
        "{name: full}\n  spare:\n    strategy: {name: full}\n    grid: {wise_ft: [0.2, 0.5, 1]}"
    )
    assert len(load(("{name: full}", unused)).methods["spare"].combinations) == 3


NETWORKS = "article, resnet, small_cnn"
STRATEGIES = "full, gradual, layerwise, lp_ft, none, partial, probe, scratch, surgical"
PENALTIES = "bss, co_tuning, delta, l1, l1_sp, l2, l2_sp, l2_sp_fisher, lwf"
KEYS_OF_SECTIONS = (
    "compute, evaluate, finetune, methods, network, scratch, seed, source, sources, target, "
    "tracking, train_source, transfer"
)
TWO_SOURCES = (
    "source:\n  candidates: [low]",
    "  high:\n    dataset: {name: handwritten-digits}\nsource:\n  candidates: [low, high]",
)

FAULTS = {
    "unknown section": (
        [("network:", "networks:")],
        f"12: unknown key 'networks'; expected one of: {KEYS_OF_SECTIONS} "
        "(did you mean 'network'?)",
    ),
    "unknown precision": (
        [("compute: {}", "compute: {precision: float16}")],
        "30: compute.precision: input should be 'float32', 'bfloat16' or 'auto'; "
        "received 'float16'",
    ),
    "unknown device": (
        [("compute: {}", "compute: {device: tpu}")],
        "30: compute.device: input should be 'auto', 'cpu' or 'gpu'; received 'tpu'",
    ),
    "missing section": (
        [("network: {name: small_cnn}\n", "")],
        "1: 'network' is missing; it has no default",
    ),
    "unknown key": (
        [("steps: 10", "step: 10")],
        "13: train_source: unknown key 'step'; expected one of: augmentation, batch_size, "
        "learning_rate, loss, momentum, optimizer, schedule, steps, warmup_steps "
        "(did you mean 'steps'?)",
    ),
    "unknown key of a network": (
        [("{name: small_cnn}", "{name: small_cnn, widht: 3}")],
        "12: network: unknown key 'widht'; expected one of: channels, image_size, name, width "
        "(did you mean 'width'?)",
    ),
    "missing key": (
        [("steps: 10, ", "")],
        "13: train_source: 'steps' is missing; it has no default",
    ),
    "wrong type": (
        [("seed: 0", "seed: zero")],
        "1: seed: input should be a valid integer; received 'zero'",
    ),
    "a float for a count": (
        [("steps: 10", "steps: 10.0")],
        "13: train_source.steps: input should be a valid integer; received 10.0",
    ),
    "a truth value for a number": (
        [("steps: 10", "steps: true")],
        "13: train_source.steps: input should be a valid integer; received True",
    ),
    "wrong range": (
        [("seed: 0", "seed: -1")],
        "1: seed: input should be greater than or equal to 0; received -1",
    ),
    "not finite": (
        [("learning_rate: 0.1", "learning_rate: .inf")],
        "23: finetune.training.learning_rate: input should be a finite number; received inf",
    ),
    "unknown choice": (
        [("steps: 10", "steps: 10, schedule: cosinus")],
        "13: train_source.schedule: input should be 'constant', 'cosine' or 'staircase'; "
        "received 'cosinus'",
    ),
    "a value for a mapping": (
        [("{name: small_cnn}", "small_cnn")],
        "12: network: expected a mapping; received 'small_cnn'",
    ),
    "a value for a list": (
        [("[1, 5, all]", "5")],
        "11: target.labels_per_class: expected a list; received 5",
    ),
    "an empty list": (
        [("[1, 5, all]", "[]")],
        "11: target.labels_per_class: expected at least one; received ()",
    ),
    "no name": (
        [("{name: small_cnn}", "{width: 3}")],
        "12: network: expected a mapping with the key 'name'",
    ),
    "unknown network": (
        [("small_cnn", "small_cn")],
        f"12: network: unknown name 'small_cn'; expected one of: {NETWORKS} "
        "(did you mean 'small_cnn'?)",
    ),
    "unknown strategy": (
        [("{name: probe}", "{name: prob}")],
        f"16: methods.probe.strategy: unknown name 'prob'; expected one of: {STRATEGIES} "
        "(did you mean 'probe'?)",
    ),
    "unknown penalty": (
        [("{name: l2_sp, ", "{name: l2sp, ")],
        f"19: methods.l2_sp.penalty: unknown name 'l2sp'; expected one of: {PENALTIES} "
        "(did you mean 'l2_sp'?)",
    ),
    "unknown method": (
        [("[probe, l2_sp]", "[probe, full]")],
        "21: finetune.methods: 'full' is not in methods; expected one of: l2_sp, probe",
    ),
    "a method twice": (
        [("[probe, l2_sp]", "[probe, probe]")],
        "21: finetune.methods: received [probe, probe]; list each name once",
    ),
    "unknown method of the headline": (
        [("method: auto", "method: full")],
        "27: evaluate.method: unknown 'full'; expected one of: auto, l2_sp, probe",
    ),
    "unknown source": (
        [("candidates: [low]", "candidates: [lo]")],
        "7: source.candidates: 'lo' is not in sources; expected one of: low (did you mean 'low'?)",
    ),
    "unknown transferability score": (
        [("transfer: {}", "transfer:\n  scores: [knn, logm]")],
        "30: transfer: scores: unknown name 'logm'; expected one of: gbc, h_score, knn, leep, "
        "logme, nce, parc, regularized_h_score, ridge_probe, transrate (did you mean 'logme'?)",
    ),
    "a transferability score twice": (
        [("transfer: {}", "transfer:\n  scores: [knn, knn]")],
        "30: transfer: scores: received [knn, knn]; list each name once",
    ),
    "a transferability score that is no list": (
        [("transfer: {}", "transfer:\n  scores: knn")],
        "30: transfer.scores: input should be 'all' or expected a list; received 'knn'",
    ),
    "a section that DVC would miss": (
        [("transfer: {}\n", "")],
        "1: 'transfer' is missing; it has no default",
    ),
    "one class": (
        [("classes: [0, 1, 2]", "classes: [0]")],
        "5: sources.low: classes: received 1; a task needs at least 2",
    ),
    "unsorted budgets": (
        [("[1, 5, all]", "[5, all, 1, 5]")],
        "11: target: labels_per_class: received [5, all, 1, 5]; list each once, in increasing "
        "order: [1, 5, all]",
    ),
    "no such budget": (
        [("[1, 5, all]", "[0, 5]")],
        "11: target.labels_per_class.0: input should be greater than or equal to 1 or "
        "input should be 'all'; received 0",
    ),
    "headline budget not among the budgets": (
        [("smallest", "2")],
        "28: evaluate.headline_budget: received 2; expected smallest or one of "
        "target.labels_per_class: 1, 5, all",
    ),
    "one fold": (
        [("folds: 3", "folds: 1")],
        "22: finetune: folds: received 1; expected 0 (no cross-validation) or at least 2",
    ),
    "auto without folds": (
        [("folds: 3", "folds: 0")],
        "27: evaluate.method: auto chooses by cross-validation, and finetune.folds is 0; "
        "set finetune.folds to 2 or more, or name a method",
    ),
    "two sources without folds": (
        [TWO_SOURCES, ("method: auto", "method: probe"), ("folds: 3", "folds: 0")],
        "24: finetune.folds: received 0 with several source.candidates; the best source is "
        "chosen by cross-validation, so set it to 2 or more",
    ),
    "a block that the network does not have": (
        [("{name: probe}", "{name: surgical, block: block4}")],
        "16: methods.probe.strategy: strategy 'surgical': the network has no block 'block4'; "
        "expected one of: block1, block2, block3 (did you mean 'block3'?)",
    ),
    "more blocks than there are": (
        [("{name: probe}", "{name: partial, blocks: 4}")],
        "16: methods.probe.strategy: strategy 'partial': received blocks: 4; the network has 3 "
        "beside its head: block1, block2, block3; lower it",
    ),
    "an unknown name in a grid": (
        [("strength: 0.01}", "strength: 0.01}\n    grid: {learning_rate: [0.1], strenth: [0.1]}")],
        "20: methods.l2_sp: grid: unknown name 'strenth'; expected one of: batch_norm, "
        "head_strength, learning_rate, scope, strength, wise_ft (did you mean 'strength'?)",
    ),
    "a name in the grid of the control that is not its own": (
        [("learning_rate: null", "grid: {strength: [0.1]}")],
        "25: scratch: grid: unknown name 'strength'; expected one of: learning_rate",
    ),
    "a negative strength in a grid": (
        [("strength: 0.01}", "strength: 0.01}\n    grid:\n      strength: [0.1, -0.1]")],
        "21: methods.l2_sp: grid.strength: input should be greater than or equal to 0; "
        "received -0.1",
    ),
    "a wrong type in a grid": (
        [("{name: probe}", "{name: probe}\n    grid: {c: [one]}")],
        "17: methods.probe: grid.c: input should be a valid number; received 'one'",
    ),
    "a grid with an empty list": (
        [("{name: probe}", "{name: probe}\n    grid: {c: []}")],
        "17: methods.probe: grid.c: received []; list at least one value",
    ),
    "a grid that is no list": (
        [("{name: probe}", "{name: probe}\n    grid: {c: 1}")],
        "17: methods.probe.grid.c: expected a list; received 1",
    ),
    "a grid of nothing": (
        [("{name: probe}", "{name: probe}\n    grid: {}")],
        "17: methods.probe: grid: received {}; name at least one hyper-parameter",
    ),
    "a value twice in a grid": (
        [("{name: probe}", "{name: probe}\n    grid: {c: [1, 0.5, 1.0]}")],
        "17: methods.probe: grid.c: received 1.0 twice; list each value once",
    ),
    "a grid beyond all measure": (
        [
            (
                "{name: probe}",
                f"{{name: probe}}\n    grid: {{c: {[*range(1, 41)]}, wise_ft: "
                f"{[n / 40 for n in range(40)]}}}",
            )
        ],
        "17: methods.probe: grid: received 1,600 combinations; expected at most 1,000",
    ),
    "a block in a grid that the network does not have": (
        [
            (
                "{name: probe}",
                "{name: surgical, block: block1}\n    grid: {block: [block1, block4]}",
            )
        ],
        "17: methods.probe.strategy: strategy 'surgical': the network has no block 'block4'; "
        "expected one of: block1, block2, block3 (did you mean 'block3'?) (in its grid)",
    ),
    "batches that are too small for a grid's bss": (
        [
            ("l2_sp, strength: 0.01}", "bss, strength: 0.01}\n    grid: {k: [1, 4]}"),
            ("steps: 5,", "steps: 5, batch_size: 4,"),
        ],
        "20: methods.l2_sp.penalty: penalty 'bss': received batches of 4; expected a batch_size "
        "of at least 5; raise finetune.training.batch_size (in its grid)",
    ),
    "a learning rate in the grid of a probe": (
        [("{name: probe}", "{name: probe}\n    grid: {learning_rate: [0.1, 0.01]}")],
        "17: methods.probe.grid: learning_rate: 'probe' without a penalty solves its head and "
        "takes no steps; leave it out",
    ),
    "a method without a grid among others": (
        GRIDS[1:],
        "15: grids of unequal size (scratch 2, methods.probe none, methods.l2_sp 2); give each "
        "arm in use, the control included, a grid with the same number of combinations, so that "
        "none is tuned harder than another, or give none of them one",
    ),
    "a control without a grid": (
        GRIDS[:2],
        "26: grids of unequal size (scratch none, methods.probe 2, methods.l2_sp 2); give each "
        "arm in use, the control included, a grid with the same number of combinations, so that "
        "none is tuned harder than another, or give none of them one",
    ),
    "grids of unequal size": (
        [GRIDS[0], (GRIDS[1][0], GRIDS[1][1].replace("0.1, ", "1, 0.1, ")), GRIDS[2]],
        "26: grids of unequal size (scratch 2, methods.probe 2, methods.l2_sp 3); give each arm "
        "in use, the control included, a grid with the same number of combinations, so that "
        "none is tuned harder than another, or give none of them one",
    ),
    "grids without folds": (
        [*GRIDS, ("method: auto", "method: probe"), ("folds: 3", "folds: 0")],
        "24: finetune.folds: received 0; grids are searched by cross-validation, so set it to 2 "
        "or more, or take the grids away",
    ),
    "a share beyond 1": (
        [("{name: probe}", "{name: probe}\n    wise_ft: 1.5")],
        "17: methods.probe.wise_ft: input should be less than or equal to 1; received 1.5",
    ),
    "a negative strength": (
        [("strength: 0.01", "strength: -0.01")],
        "19: methods.l2_sp.penalty.strength: input should be greater than or equal to 0; "
        "received -0.01",
    ),
    "batches of 1 for bss": (
        [("l2_sp, strength", "bss, strength"), ("steps: 5,", "steps: 5, batch_size: 1,")],
        "19: methods.l2_sp.penalty: penalty 'bss': received batches of 1; expected a batch_size "
        "of at least 2; raise finetune.training.batch_size",
    ),
    "batches of 1 for the control's bss": (
        [
            ("learning_rate: null", "penalty: {name: bss, strength: 1}"),
            ("steps: 5,", "steps: 5, batch_size: 1,"),
        ],
        "25: scratch.penalty: penalty 'bss': received batches of 1; expected a batch_size of at "
        "least 2; raise finetune.training.batch_size",
    ),
    "the control with a penalty that needs a source": (
        [("learning_rate: null", "penalty: {name: l2_sp, strength: 1}")],
        "25: scratch: penalty 'l2_sp' compares with a source, which the control does not have; "
        "expected one of: bss, l1, l2",
    ),
    "a penalty where nothing trains": (
        [("{name: full}", "{name: none}")],
        "19: methods.l2_sp: penalty: strategy 'none' trains nothing that it could act on; leave "
        "it out, or take another strategy",
    ),
    "a control that ends before its warm-up": (
        [("learning_rate: null", "steps: 2"), ("steps: 5,", "steps: 5, warmup_steps: 3,")],
        "25: scratch.steps: received 2; expected no fewer than finetune.training.warmup_steps, 3",
    ),
    "the control among the methods": (
        [("{name: full}", "{name: scratch}")],
        "18: methods.l2_sp.strategy: 'scratch' transfers nothing; it is the control, which "
        "always runs: its settings are the section `scratch`",
    ),
    "a source with the control's name": (
        [("  low:", "  scratch:"), ("[low]", "[scratch]")],
        "3: sources.scratch: this name is the control's, whose files would mix with the "
        "source's; rename the source",
    ),
    "a hyphen in a method's name": (
        [("  l2_sp:", "  l2-sp:"), ("[probe, l2_sp]", "[probe]")],
        "17: methods.l2-sp: expected letters, digits and underscores, a letter first; "
        "received 'l2-sp'",
    ),
    "a hyphen in a source's name": (
        [("[low]", "[low-digits]")],
        "7: source.candidates.0: expected letters, digits and underscores, a letter first; "
        "received 'low-digits'",
    ),
    "invalid YAML": (
        [("labels_per_class: [1, 5, all]", "labels_per_class: [1, 5, all")],
        "12: expected ',' or ']', but got ':'; mend the YAML there",
    ),
    "a key twice": (
        [("folds: 3", "folds: 3\n  folds: 4")],
        "23: key 'folds' stands twice; keep one",
    ),
}


@pytest.mark.parametrize(("changes", "message"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_named_with_its_line(load, changes, message):
    with pytest.raises(GraftError) as caught:
        load(*changes)
    assert str(caught.value) == f"params.yaml:{message}"


def test_an_unknown_data_set_is_answered_with_the_list(load):
    from graft.datasets.registry import DATASETS

    with pytest.raises(GraftError) as caught:
        load(
            ("target:\n  dataset: {name: handwritten-digits}", "target:\n  dataset: {name: mnits}")
        )
    assert str(caught.value) == (
        "params.yaml:9: target.dataset: unknown name 'mnits'; expected one of: "
        f"{', '.join(sorted(DATASETS))} (did you mean 'mnist'?)"
    )


def test_every_fault_has_a_line_of_its_own(load):
    with pytest.raises(GraftError) as caught:
        load(("seed: 0", "seed: -1"), ("steps: 10", "steps: 0"), ("folds: 3", "folds: 1"))
    assert [line.split(": ")[:2] for line in str(caught.value).splitlines()] == [
        ["params.yaml:1", "seed"],
        ["params.yaml:13", "train_source.steps"],
        ["params.yaml:22", "finetune"],
    ]


def test_two_missing_keys_are_two_faults(load):
    with pytest.raises(GraftError) as caught:
        load(("{steps: 10, learning_rate: 1e-3}", "{}"))
    assert str(caught.value) == (
        "params.yaml:13: train_source: 'steps' is missing; it has no default\n"
        "params.yaml:13: train_source: 'learning_rate' is missing; it has no default"
    )


@pytest.mark.parametrize("text", ["", "- seed\n", "seed\n"], ids=["empty", "list", "word"])
def test_what_is_no_mapping_is_refused(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(GraftError, match="expected a mapping of sections"):
        params.load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(GraftError, match=r"params\.yaml is missing; run in a graft project"):
        params.load(tmp_path / "params.yaml")


def test_a_folder_is_no_params_file(tmp_path):
    with pytest.raises(GraftError, match="cannot be read as UTF-8 text"):
        params.load(tmp_path)


def test_other_than_utf_8_is_refused(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_bytes("# für\nseed: 0\n".encode("latin-1"))
    with pytest.raises(GraftError, match="cannot be read as UTF-8 text"):
        params.load(path)


def test_reading_params_imports_nothing_heavy():
    script = (
        "import sys, graft.params\n"
        "print(*sorted({'tensorflow', 'keras', 'mlflow', 'sklearn', 'scipy', 'matplotlib'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == ""
