from __future__ import annotations

import pytest
import torch
from answers import answers, certain
from sklearn.metrics import classification_report, confusion_matrix

from marina.evaluation.mistakes import worst_mistakes
from marina.evaluation.scores import score


def test_the_scores_are_scikit_learns() -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 7, (200,), generator=generator).tolist()
    logits = torch.randn(200, 7, generator=generator)
    logits[range(200), targets] += 1.0
    evaluation = answers(logits, targets, tuple("abcdefg"))
    scores = score(evaluation)
    predicted = evaluation.predicted.tolist()
    theirs = classification_report(
        targets, predicted, output_dict=True, target_names=list("abcdefg")
    )
    assert scores.accuracy == pytest.approx(theirs["accuracy"])
    assert scores.macro_f1 == pytest.approx(theirs["macro avg"]["f1-score"])
    for entry in scores.classes:
        row = theirs[entry.label]
        assert entry.precision == pytest.approx(row["precision"])
        assert entry.recall == pytest.approx(row["recall"])
        assert entry.f1 == pytest.approx(row["f1-score"])
        assert entry.images == row["support"]
    assert scores.confusion.tolist() == confusion_matrix(targets, predicted).tolist()
    among_five = [t in row for t, row in zip(targets, logits.topk(5).indices.tolist(), strict=True)]
    assert scores.top5_accuracy == pytest.approx(sum(among_five) / 200)
    low, high = scores.interval
    assert low < scores.accuracy < high


def test_a_class_nobody_predicts_and_one_without_images_score_zero() -> None:
    scores = score(answers(certain([0, 0, 0], 3), [0, 0, 1], ("a", "b", "c")))
    a, b, c = scores.classes
    assert (a.precision, a.recall) == (pytest.approx(2 / 3), 1.0)
    assert (b.precision, b.recall, b.f1) == (0, 0, 0)
    assert (c.images, c.f1) == (0, 0)
    assert scores.top5_accuracy is None


def test_the_most_confident_mistake_comes_first() -> None:
    logits = torch.tensor([[3.0, 0], [0.0, 1], [5.0, 0], [9.0, 0]])
    mistakes = worst_mistakes(answers(logits, [1, 0, 1, 0], ("cat", "dog")))
    assert [mistake.file for mistake in mistakes] == ["2.png", "0.png", "1.png"]
    assert (mistakes[0].truth, mistakes[0].predicted) == ("dog", "cat")
    assert mistakes[0].probability + mistakes[0].truth_probability == pytest.approx(1)
    assert len(worst_mistakes(answers(logits, [1, 0, 1, 0], ("cat", "dog")), most=2)) == 2
