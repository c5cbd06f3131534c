"""What changed between two solvers, and where one is weak."""

from __future__ import annotations

from luthier.data.example import Example
from luthier.evaluate.failures import breakdown, confusions, slices
from luthier.evaluate.scorers import score
from luthier.evaluate.scores import Answer, Sample, Scores


def labelled(answers: str, solver: str = "tuned", references: str = "xxxxxxyyyyyy", groups: int = 0) -> Scores:
    examples = [
        Example(f"r{i}", text=f"t{i}", label=r, group=f"g{i % groups}" if groups else None)
        for i, r in enumerate(references)
    ]
    return score("classify", examples, [Answer(label=a) for a in answers], ["accuracy", "macro_f1"], solver=solver)


def extracted(*answers: str) -> Scores:
    reference = '{"kind": "a", "n": 1}'
    examples = [Example(f"r{i}", prompt="q", completion=reference) for i in range(len(answers))]
    return score("generate", examples, [Answer(text=a) for a in answers], ["json_match"], solver="tuned")


def test_what_changed() -> None:
    found = breakdown(labelled("xxxxxxyyyyxx"), labelled("xxxxyyyyyyyx", "base"), "macro_f1")
    assert found["counts"] == {"improved": 2, "worsened": 1, "both_right": 8, "both_wrong": 1}
    assert found["worsened"] == [{"row_id": "r10", "question": "t10", "reference": "y", "baseline": "y", "tuned": "x"}]
    assert [row["row_id"] for row in found["improved"]] == ["r4", "r5"]


def test_counts_are_of_all_rows_also_beyond_the_limit() -> None:
    found = breakdown(labelled("xxxxxxyyyyyy"), labelled("yyyyyyxxxxxx", "base"), "accuracy", limit=3)
    assert len(found["improved"]) == 3
    assert found["counts"]["improved"] == 12


def test_likelihoods_largest_change_first() -> None:
    def scores(solver: str, *nats: float) -> Scores:
        rows = [Sample(f"r{i}", None, "q", None, None, {"nll": n}, {"nll": 2.0}) for i, n in enumerate(nats)]
        return Scores(solver, "text", tuple(rows), 0.0)

    found = breakdown(scores("tuned", 1, 2, 3, 4), scores("base", 2, 5, 2.5, 4), "nll")
    assert [row["row_id"] for row in found["improved"]] == ["r1", "r0"]
    assert found["counts"] == {"improved": 2, "worsened": 1, "both_right": 0, "both_wrong": 0}


def test_the_surely_worst_slice_comes_first() -> None:
    found = slices(labelled("xxxxxxxxxxyy"), "accuracy")
    assert [(part["name"], part["n"]) for part in found] == [("y", 6), ("x", 6)]
    assert found[0]["low"] < found[0]["value"] == 2 / 6 < found[0]["high"]


def test_rows_of_a_group_are_a_slice() -> None:
    found = slices(labelled("xxxyxyyxyxyx", groups=2), "accuracy")
    assert [(part["name"], part["value"]) for part in found[:1]] == [("group g1", 1 / 6)]
    assert {part["name"] for part in found} == {"x", "y", "group g0", "group g1"}


def test_small_slices_are_left_out() -> None:
    assert [part["name"] for part in slices(labelled("xxxxxx", references="xxxxxy"), "macro_f1")] == ["x"]


def test_json_by_field_and_value() -> None:
    found = slices(extracted(*['{"kind": "a", "n": 2}'] * 4, '{"kind": "a", "n": 1}', "nothing"), "json_match")
    assert {part["name"]: part["value"] for part in found} == {
        "n": 1 / 6, "n: 1": 1 / 6, "kind": 5 / 6, "kind: a": 5 / 6,
    }  # fmt: skip
    assert found[0]["name"] == "n"


def test_confusions() -> None:
    assert confusions(labelled("xxxxxyyyyxxx"))[:2] == [
        {"field": "", "reference": "y", "prediction": "x", "count": 3},
        {"field": "", "reference": "x", "prediction": "y", "count": 1},
    ]
    assert confusions(extracted('{"kind": "b", "n": 1}', "nothing"), limit=1) == [
        {"field": "kind", "reference": "a", "prediction": "", "count": 1}
    ]
