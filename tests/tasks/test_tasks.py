"""Built-in tasks: losses and figures beside those of scikit-learn and SciPy, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn import metrics
from torch.nn import functional

from hwopt import tasks, train
from hwopt.data import Batch
from hwopt.errors import HwoptError

N = 40


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def whole(most, *shape, seed=1):
    return torch.randint(most, shape, generator=torch.Generator().manual_seed(seed))


#: For every task: outputs and a batch that fit.
EXAMPLES = {
    "anomaly": (random(N, 3, 4), Batch(random(N, 3, 4, seed=2), whole(2, N))),
    "classification": (random(N, 5), Batch(None, whole(5, N))),
    "imitate": (random(N, 5), Batch(random(N, 7), random(N, 5, seed=6))),
    "multi-label": (random(N, 5), Batch(None, whole(2, N, 5))),
    "reconstruction": (random(N, 3, 4), Batch(random(N, 3, 4, seed=2), None)),
    "regression": (random(N, 1), Batch(None, random(N, seed=3))),
    "retrieval": (random(N, 6), Batch(None, whole(4, N))),
    "segmentation": (random(N, 3, 5, 5), Batch(None, whole(3, N, 5, 5))),
    "similarity": (
        random(2 * N, 6),
        Batch((random(N, 2), random(N, 2)), random(N, seed=4).tanh()),
    ),
}


def quality(task, outputs, batch):
    return task.quality(task.scores(task.evidence(outputs, batch)))


def test_there_is_an_example_of_every_task():
    assert sorted(EXAMPLES) == tasks.names()


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_task_keeps_its_contract(name):
    task = tasks.find(name)
    outputs, batch = EXAMPLES[name]
    assert str(task) == name and tasks.find(str(task)) == task
    task.check(outputs, batch)
    given = outputs.clone().requires_grad_()
    losses = task.loss(given, batch)
    assert losses.shape == (N,) and losses.dtype == torch.float32
    losses.mean().backward()
    assert given.grad.isfinite().all() and given.grad.any()
    evidence = task.evidence(outputs, batch)
    assert len(evidence) == len(task.scores(evidence)) == N
    found = quality(task, outputs, batch)
    low, high = tasks.interval(task.quality, task.scores(evidence))
    assert np.isfinite(found) and low <= found <= high and low < high
    assert task.metric.show(found) and task.show(outputs[:1])


def test_a_network_that_is_never_wrong_has_no_loss():
    labels = whole(5, N)
    sure = 1e4 * functional.one_hot(labels, 5).float()
    for name, outputs, batch in [
        ("classification", sure, Batch(None, labels)),
        ("multi-label", 2 * sure - 1e4, Batch(None, functional.one_hot(labels, 5))),
        ("regression", sure, Batch(None, sure)),
        ("reconstruction", sure, Batch(sure, None)),
    ]:
        task = tasks.find(name)
        assert task.loss_can_be_zero and not task.loss(outputs, batch).any()
    smoothed = tasks.Classification().smoothed(0.1)
    assert not smoothed.loss_can_be_zero and smoothed.loss(sure, Batch(None, labels)).all()


def test_classification_is_torchs():
    outputs, batch = EXAMPLES["classification"]
    for smoothing in (0.0, 0.1):
        found = tasks.Classification(smoothing).loss(outputs, batch).mean()
        wanted = functional.cross_entropy(outputs, batch.targets, label_smoothing=smoothing)
        torch.testing.assert_close(found, wanted)
    right = (outputs.argmax(1) == batch.targets).double().mean().item()
    assert quality(tasks.Classification(), outputs, batch) == pytest.approx(right)


def test_f1_is_scikit_learns():
    outputs, batch = EXAMPLES["multi-label"]
    wanted = metrics.f1_score(batch.targets.numpy(), (outputs > 0).numpy(), average="micro")
    assert quality(tasks.MultiLabel(), outputs, batch) == pytest.approx(wanted)
    nothing = Batch(None, torch.zeros(2, 5))
    assert quality(tasks.MultiLabel(), -torch.ones(2, 5), nothing) == 1.0


@pytest.mark.parametrize("columns", [1, 3])
def test_errors_of_numbers_are_scikit_learns(columns):
    said, true = random(N, columns), random(N, columns, seed=5)
    batch = Batch(None, true)
    wanted = {
        "mean-absolute-error": metrics.mean_absolute_error(true, said),
        "r2": metrics.r2_score(true, said),
    }
    for by, value in wanted.items():
        assert quality(tasks.Regression(by=by), said, batch) == pytest.approx(value, rel=1e-6)
    squared = metrics.mean_squared_error(true, said)
    by_square = tasks.Regression(by="root-mean-square")
    assert quality(by_square, said, batch) == pytest.approx(squared**0.5, rel=1e-6)
    assert by_square.loss(said, batch).mean().item() == pytest.approx(squared, rel=1e-5)


def test_the_mean_iou_is_that_of_confusions():
    outputs, batch = EXAMPLES["segmentation"]
    labels = batch.targets.clone()
    labels[0] = 255
    said = outputs.argmax(1).numpy()
    counted = labels.numpy() != 255
    table = metrics.confusion_matrix(labels.numpy()[counted], said[counted])
    wanted = np.mean(np.diag(table) / (table.sum(0) + table.sum(1) - np.diag(table)))
    assert quality(tasks.Segmentation(), outputs, Batch(None, labels)) == pytest.approx(wanted)
    losses = tasks.Segmentation().loss(outputs, Batch(None, labels))
    assert losses[0] == 0
    by_place = functional.cross_entropy(outputs[1:], labels[1:], reduction="none")
    torch.testing.assert_close(losses[1:], by_place.flatten(1).mean(1))


def test_the_auc_is_scikit_learns_also_with_ties():
    generator = np.random.default_rng(0)
    for scores in (generator.normal(size=N), generator.integers(3, size=N).astype(float)):
        positive = generator.integers(2, size=N) > 0
        found = tasks.reconstruction.area_under_curve(scores, positive)
        assert found == pytest.approx(metrics.roc_auc_score(positive, scores))
    outputs, batch = EXAMPLES["anomaly"]
    error = ((outputs - batch.inputs) ** 2).flatten(1).mean(1)
    wanted = metrics.roc_auc_score(batch.targets, error)
    assert quality(tasks.Anomaly(), outputs, batch) == pytest.approx(wanted)
    assert np.isnan(quality(tasks.Anomaly(), outputs, Batch(batch.inputs, torch.zeros(N))))


def test_the_rank_correlation_is_scipys():
    outputs, batch = EXAMPLES["similarity"]
    cosines = functional.cosine_similarity(outputs[:N], outputs[N:])
    wanted = spearmanr(cosines.numpy(), batch.targets.numpy()).statistic
    assert quality(tasks.Similarity(), outputs, batch) == pytest.approx(wanted)
    assert tasks.Similarity().feed(batch.inputs).shape == (2 * N, 2)
    by_name = tuple({"ids": one} for one in batch.inputs)
    assert tasks.Similarity().feed(by_name)["ids"].shape == (2 * N, 2)


@pytest.mark.parametrize("k", [1, 3])
def test_recall_is_what_comparing_all_pairs_gives(k):
    outputs, batch = EXAMPLES["retrieval"]
    hits = 0
    for one in range(N):
        cosines = functional.cosine_similarity(outputs[one : one + 1], outputs)
        cosines[one] = -2
        hits += bool((batch.targets[cosines.topk(k).indices] == batch.targets[one]).any())
    assert quality(tasks.Retrieval(k=k), outputs, batch) == pytest.approx(hits / N)


def test_nearness_of_the_right_ones_lowers_the_loss_of_retrieval():
    labels = torch.tensor([0, 0, 1, 1])
    near = functional.one_hot(labels, 2).float()
    task, batch = tasks.Retrieval(), Batch(None, labels)
    assert task.loss(near, batch).max() < 1e-3 < task.loss(near[[0, 2, 1, 3]], batch).min()


@pytest.mark.parametrize(
    ("name", "outputs", "batch", "message"),
    [
        ("classification", torch.zeros(2, 3), Batch(None, torch.tensor([0, 3])), "has label 3"),
        ("classification", torch.zeros(2, 3), Batch(None, torch.zeros(2)), "are no classes"),
        ("classification", torch.zeros(2, 3), Batch(None, None), "no targets are no classes"),
        ("classification", (torch.zeros(2),) * 2, Batch(None, None), "returns 2 outputs"),
        ("multi-label", torch.zeros(2, 3), Batch(None, torch.full((2, 3), 2)), "0 or 1"),
        ("multi-label", torch.zeros(2, 3), Batch(None, torch.zeros(2)), "targets are"),
        ("regression", torch.zeros(2, 3), Batch(None, torch.zeros(2)), "like the outputs"),
        ("segmentation", torch.zeros(1, 2, 2), Batch(None, torch.tensor([[0, 7]])), "label 7"),
        ("reconstruction", torch.zeros(2, 3), Batch(torch.zeros(2, 4), None), "as large"),
        ("retrieval", torch.zeros(2, 3), Batch(None, None), "one label a sample"),
        ("similarity", torch.zeros(2, 3), Batch(None, torch.zeros(2)), "a number a pair"),
    ],
)
def test_what_is_no_such_task_is_refused(name, outputs, batch, message):
    with pytest.raises(HwoptError, match=message):
        tasks.find(name).check(outputs, batch)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clasification", "did you mean 'classification'"),
        ("regression{by=median}", "by"),
        ("retrieval{n=3}", "unknown option of task retrieval"),
        ("retrieval{k=0}", "k must be at least 1"),
        ("regression{by", "cannot read the task"),
        ("math:hypot", "not a subclass of hwopt.tasks.Task"),
        ("nowhere:Task", "cannot import"),
    ],
)
def test_a_task_that_is_none_is_refused(text, message):
    with pytest.raises(HwoptError, match=message):
        tasks.find(text)


def test_intervals_are_as_wide_as_those_of_the_binomial_distribution():
    scores = (np.arange(400) % 4 > 0).astype(float)
    low, high = tasks.interval(np.mean, scores)
    wide = 2 * 1.96 * (0.75 * 0.25 / 400) ** 0.5
    assert high - low == pytest.approx(wide, rel=0.1)


def test_what_is_hard_for_both_does_not_widen_the_comparison():
    generator = np.random.default_rng(0)
    beside = generator.integers(2, size=1000).astype(float)
    scores = beside.copy()
    scores[beside.argmax()] = 0  # one more is wrong
    lost = tasks.worse_by(lambda one, other: other - one, np.mean, scores, beside)
    assert 0.001 <= lost <= 0.005
    low, high = tasks.interval(np.mean, beside)
    assert high - low > 0.05


@pytest.mark.parametrize("name", ["reconstruction", "regression", "anomaly"])
def test_what_is_no_number_is_never_left_out_of_a_quality(name):
    outputs, batch = EXAMPLES[name]
    broken = outputs.clone()
    broken[0] = torch.nan
    assert np.isnan(quality(tasks.find(name), broken, batch))


def test_samples_without_a_label_do_not_count():
    labels = torch.tensor([0, 0, 1, tasks.IGNORED])
    found = quality(tasks.Classification(), torch.eye(3)[[0, 0, 0, 0]], Batch(None, labels))
    assert found == pytest.approx(2 / 3)


@pytest.mark.parametrize("name", ["classification", "segmentation", "multi-label"])
def test_an_output_that_is_no_number_is_no_answer(name):
    outputs, batch = EXAMPLES[name]
    broken = outputs.clone()
    broken[0] = torch.nan
    for one, known in ((outputs, True), (broken, False)):
        samples = torch.utils.data.TensorDataset(one, batch.targets)
        found = train.evaluate(torch.nn.Identity(), samples, name).quality
        assert np.isfinite(found) == known
