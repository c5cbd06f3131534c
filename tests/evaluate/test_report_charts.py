"""Axes, and what is drawn where."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.evaluate.report.charts import Scale, axis_row, bar, curve, dot_row, nice_scale, thin
from luthier.evaluate.report.forest import Row, forest, spanning

SCALE = Scale(0.0, 2.0, (0.0, 1.0, 2.0))
VALUES = st.floats(-1e6, 1e6, allow_nan=False).filter(lambda value: value == 0 or abs(value) > 1e-6)


@settings(max_examples=60, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=8))
def test_an_axis_holds_every_value_between_its_first_and_last_tick(values):
    scale = nice_scale(values)
    slack = 1e-6 * (1 + max(map(abs, values)))
    assert scale.low - slack <= min(values)
    assert max(values) <= scale.high + slack
    assert 2 <= len(scale.ticks) <= 9


def test_ticks_are_round_and_stay_inside_bounds():
    assert nice_scale([0.057, 0.704], (0.0, 1.0)).ticks == (0.0, 0.2, 0.4, 0.6, 0.8)
    assert nice_scale([0.93, 0.999], (0.0, 1.0)).ticks[-1] == 1.0
    assert nice_scale([0.5]).low < 0.5 < nice_scale([0.5]).high


def test_positions_outside_the_axis_are_kept_on_it():
    assert [SCALE.percent(value) for value in (-1.0, 0.0, 0.5, 2.0, 3.0)] == [0.0, 0.0, 25.0, 100.0, 100.0]


def test_a_row_draws_its_interval_and_its_value():
    row = dot_row(SCALE, 1.0, 0.5, 1.5, strong=True, marks=[0.25])
    assert '<line class="interval" x1="25.0%" x2="75.0%" y1="50%" y2="50%"/>' in row
    assert '<circle class="dot" cx="50.0%"' in row
    assert '<line class="mark" x1="12.5%"' in row


def test_a_value_without_an_interval_is_a_dot_alone():
    assert "interval" not in dot_row(SCALE, 1.0, None, 1.5, strong=False)


def test_axis_labels_are_escaped():
    assert "&lt;b&gt;" in axis_row(SCALE, lambda _: "<b>")


def test_a_stacked_bar_begins_each_part_where_the_last_ended():
    assert re.findall(r'x="([\d.]+)%" width="([\d.]+)%"', bar([0.25, 0.5])) == [
        ("0.0", "25.0"),
        ("25.0", "50.0"),
    ]


def test_a_curve_runs_from_corner_to_corner_and_marks_the_best_step():
    drawing = curve([(0.0, 0.0), (5.0, 2.0), (10.0, 4.0)], Scale(0.0, 10.0, ()), str, 5.0, "loss <falls>")
    assert 'd="M0.0 100.0L50.0 50.0L100.0 0.0"' in drawing
    assert '<line class="mark" x1="50.0%"' in drawing
    assert 'aria-label="loss &lt;falls&gt;"' in drawing


def test_thinning_keeps_the_ends_and_the_extremes():
    points = [(float(step), float(step % 97)) for step in range(5000)]
    points[2345] = (2345.0, 1000.0)
    kept = thin(points, 200)
    assert len(kept) <= 210
    assert kept[0] == points[0]
    assert kept[-1] == points[-1]
    assert (2345.0, 1000.0) in kept
    assert kept == sorted(kept)


@pytest.mark.parametrize("estimate", [{}, {"value": None}, {"value": float("nan")}])
def test_a_forest_of_nothing_has_an_axis_and_no_dot(estimate):
    rows = [Row("base", estimate, missing="Not measured.")]
    table = forest("caption", ("Solver",), rows, "note", scale=spanning(rows), tick=str)
    assert "circle" not in table.rows[0][1]
    assert "tick" in table.axis
