"""Which rows a step has: every row once an epoch, from any step on, whoever shares the work."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from luthier.data.batch import Batch, cut, spread
from luthier.data.forest import Row
from luthier.data.stream import Costs, Stream, packed, precomputed, with_targets
from luthier.errors import TrainingError

SIZES = {"count": st.integers(1, 40), "batch_size": st.integers(1, 50), "seed": st.integers(0, 2**32 - 1)}


def nothing(numbers: Sequence[int]) -> list[Batch]:
    return []


def all_steps(stream: Stream) -> list[int]:
    return [number for step in range(stream.steps) for number in stream.numbers(step)]


class Rows:
    """Row n has n + 2 tokens, all of them n; all but the first are targets."""

    lengths = np.arange(2, 12)

    def __len__(self) -> int:
        return len(self.lengths)

    def row(self, index: int, /) -> tuple[np.ndarray, np.ndarray]:
        weights = np.ones(index + 2, np.float32)
        weights[0] = 0
        return np.full(index + 2, index), weights


@given(**SIZES, epochs=st.integers(1, 4))
def test_an_epoch_is_a_permutation(count: int, batch_size: int, seed: int, epochs: int) -> None:
    seen = all_steps(Stream(nothing, count, batch_size, epochs * count, seed))
    assert len(seen) == epochs * count
    for epoch in range(epochs):
        assert sorted(seen[epoch * count : (epoch + 1) * count]) == list(range(count))


@given(**SIZES, total=st.integers(1, 120))
def test_every_step_but_the_last_is_whole(count: int, batch_size: int, seed: int, total: int) -> None:
    stream = Stream(nothing, count, batch_size, total, seed)
    whole, rest = divmod(total, batch_size)
    assert {len(stream.numbers(step)) for step in range(whole)} <= {batch_size}
    assert len(stream.numbers(whole)) == rest
    assert stream.numbers(whole + 1) == []


@given(**SIZES, step=st.integers(0, 20))
def test_any_step_is_made_again_without_those_before_it(count: int, batch_size: int, seed: int, step: int) -> None:
    first, later = (Stream(nothing, count, batch_size, 10_000, seed) for _ in range(2))
    for earlier in range(step):
        first.numbers(earlier)
    assert first.numbers(step) == later.numbers(step)


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    seen = all_steps(Stream(nothing, 30, 7, 90, 0))
    orders = {tuple(seen[start : start + 30]) for start in (0, 30, 60)}
    orders |= {tuple(all_steps(Stream(nothing, 30, 7, 30, seed))) for seed in (1, 2)}
    assert len(orders) == 5


@given(**SIZES, world=st.integers(1, 5), step=st.integers(0, 5))
def test_ranks_share_out_the_rows_of_a_step(count: int, batch_size: int, seed: int, world: int, step: int) -> None:
    taken: list[list[int]] = []

    def note(numbers: Sequence[int]) -> list[Batch]:
        taken.append(list(numbers))
        return []

    streams = [Stream(note, count, batch_size, 10_000, seed, "", rank, world) for rank in range(world)]
    for stream in streams:
        stream.take(step)
    together = streams[0].numbers(step)
    assert sorted(number for part in taken for number in part) == sorted(together)
    sizes = [len(part) for part in taken]
    assert max(sizes) - min(sizes) <= 1
    assert len({str(stream.state()) for stream in streams}) == 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed"), ({"batch_size": 3}, "batch_size"), ({"count": 9}, "count"), ({"total": 19}, "total"),
        ({"data": "other"}, "data"), ({"seed": 1, "data": "other"}, "data, seed"),
    ],
)  # fmt: skip
def test_a_stream_with_another_order_is_refused(change: dict[str, object], named: str) -> None:
    usual = {"count": 10, "batch_size": 2, "total": 20, "seed": 0, "data": "rows"}
    state = Stream(nothing, **usual).state()  # type: ignore[arg-type]
    Stream(nothing, **usual).restore(state)  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match=f"another {named} than"):
        Stream(nothing, **usual | change).restore(state)  # type: ignore[arg-type]


def test_the_rank_is_no_part_of_what_must_be_unchanged() -> None:
    state = Stream(nothing, 10, 2, 20, rank=0, world=1).state()
    Stream(nothing, 10, 2, 20, rank=1, world=2).restore(state)


@given(st.integers(1, 40))
def test_micro_batches_keep_order_columns_and_budget(budget: int) -> None:
    column = np.arange(10) ** 2
    numbers = [3, 0, 9, 5, 5, 1]
    batches = packed(Rows(), budget, {"square": column})(numbers)
    assert [number for batch in batches for number in batch.numbers_R.tolist()] == numbers
    for batch in batches:
        assert batch.tokens <= budget or batch.rows == 1
        assert batch.column("square").tolist() == [number**2 for number in batch.numbers_R.tolist()]
    assert sum(float(batch.weight_N.sum()) for batch in batches) == sum(number + 1 for number in numbers)


@given(st.lists(st.integers(1, 30)), st.integers(1, 40))
def test_cutting_loses_nothing_and_opens_no_part_too_soon(lengths: list[int], budget: int) -> None:
    parts = cut(lengths, budget)
    assert [index for part in parts for index in part] == list(range(len(lengths)))
    sums = [sum(lengths[i] for i in part) for part in parts]
    assert all(total <= budget or len(part) == 1 for total, part in zip(sums, parts, strict=True))
    assert all(total + lengths[later[0]] > budget for total, later in zip(sums, parts[1:], strict=False))


@given(st.lists(st.integers(1, 30), min_size=1), st.integers(1, 60), st.integers(1, 4))
def test_spreading_loses_nothing_and_fills_every_lane(lengths: list[int], budget: int, lanes: int) -> None:
    parts = spread(lengths, budget, lanes)
    assert sorted(index for part in parts for index in part) == list(range(len(lengths)))
    assert all(part == sorted(part) for part in parts)
    sums = [sum(lengths[i] for i in part) for part in parts]
    assert all(total <= budget or len(part) == 1 for total, part in zip(sums, parts, strict=True))
    assert len(parts) >= min(lanes, len(lengths))
    assert sums == sorted(sums, reverse=True)


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 90)), min_size=1), st.integers(1, 60), st.integers(1, 4))
def test_dear_rows_are_spread_by_what_they_cost(rows: list[tuple[int, int]], budget: int, lanes: int) -> None:
    lengths, costs = map(list, zip(*rows, strict=True))
    parts = spread(lengths, budget, lanes, costs)
    assert sorted(index for part in parts for index in part) == list(range(len(rows)))
    assert all(sum(lengths[i] for i in part) <= budget or len(part) == 1 for part in parts)
    sums = [sum(costs[i] for i in part) for part in parts]
    assert sums == sorted(sums, reverse=True)
    assert len(parts) >= min(lanes, len(rows))


def test_lanes_end_together_though_a_row_is_dear() -> None:
    """The dear row has a lane to itself until the other has done as much; no micro-batch beside it is as large."""
    assert spread([9, 3, 3, 3, 3, 3], 12, 2) == [[0, 4], [1, 2, 3, 5]]
    assert spread([9, 3, 3, 3, 3, 3], 9, 2) == [[0], [1, 3], [2, 5], [4]]


def row(tokens: list[int], targets: int = 0) -> Row:
    weights = np.zeros(len(tokens), np.float32)
    weights[len(tokens) - targets :] = 1
    return Row(np.array(tokens), weights, 0)


def test_what_rows_cost_is_counted_in_tokens() -> None:
    """A beginning that both rows of a unit have is computed once, and only where the model can share it."""
    left, right = row([*range(20), 100, 101], targets=2), row([*range(20), 200, 201, 202], targets=3)
    assert Costs()([left, right], False) == 22 + 23
    assert Costs()([left, right], True) == 22 + 23 - 20
    assert Costs(0.5, 0.25)([left, right], False) == 45 + 0.5 * 5 + 0.25 * (22**2 + 23**2)


def test_lanes_are_given_equally_much_to_do() -> None:
    """Rows of one length, of which half have many targets: no micro-batch has only those."""

    class Even:
        lengths = np.full(4, 10)

        def row(self, index: int) -> tuple[np.ndarray, np.ndarray]:
            found = row(list(range(10)), targets=8 if index < 2 else 1)
            return found.ids, found.weights

    def targets(costs: Costs) -> list[int]:
        return [len(batch.target_N) for batch in packed(Even(), 20, lanes=2, costs=costs)([0, 2, 1, 3])]  # type: ignore[arg-type]

    assert targets(Costs()) == [16, 2]
    assert targets(Costs(target=1.0)) == [9, 9]


def test_rows_whose_features_are_there_need_no_tokens() -> None:
    features = np.arange(20, dtype=np.float32).reshape(10, 2)
    (batch,) = precomputed(Rows.lengths, {"features": features})([7, 2])
    assert (batch.rows, len(batch.ids_T), batch.tokens) == (2, 0, 9 + 4)
    assert torch.equal(batch.column("features"), torch.tensor([[14.0, 15.0], [4.0, 5.0]]))


def test_targets_get_the_values_of_their_rows_also_where_only_some_have_any() -> None:
    rows, chosen = Rows(), [2, 5, 9]
    own = {"said": np.concatenate([np.full(number + 1, number) for number in chosen])}
    (batch,) = with_targets(packed(rows, 100), rows, own, chosen)([9, 2])
    assert batch.target_column("said").tolist() == [9] * 10 + [2] * 3
