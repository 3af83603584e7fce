"""Tables in 80 columns: nothing is cut, no word is broken, whatever the numbers and names."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from helpers_fake_run import make_run
from helpers_tables import check_fits, rendered
from hypothesis import given, settings
from hypothesis import strategies as st

from dast_jax.reporting.load import load_run
from dast_jax.reporting.run_tables import print_metrics, print_summary
from dast_jax.reporting.terminal import make_table, plain, print_tables
from dast_jax.store.evaluation_results import Metrics
from dast_jax.store.results import Summary


@pytest.fixture(scope="module")
def summary(tmp_path_factory) -> Summary:
    return load_run(make_run(tmp_path_factory.mktemp("runs") / "run")).summary


def test_summary_of_a_large_run(summary) -> None:
    """An 8B model's counts, and a set with a long name."""
    name = "math_word_problems_of_another_year"

    def grown(entry):
        sampling = dataclasses.replace(
            entry.sampling, trials=123_456_789, correct=98_765_432, tokens=98_765_432_100
        )
        training = entry.training and dataclasses.replace(
            entry.training, examples=12_345_678, reference_examples=12_345_678, tokens=98_765_432_100,
            steps=1_234_567, planned_steps=2_345_678,
        )  # fmt: skip
        evaluation = {name: entry.evaluation["in_domain"], **entry.evaluation}
        return dataclasses.replace(entry, sampling=sampling, training=training, evaluation=evaluation)

    large = dataclasses.replace(summary, rounds=tuple(map(grown, summary.rounds)))
    shown = check_fits(print_summary, large)
    assert name in shown
    assert "123,456,789" in shown
    assert "correct" in shown
    check_fits(print_summary, summary)


def test_metrics_of_many_trials(summary) -> None:
    entry = summary.base.evaluation["in_domain"]
    several = dict.fromkeys(map(str, (1, 2, 4, 8)), entry)
    values = vars(entry) | {"trials": 128, "n": 1_234_567, "pass_at": several, "majority_at": several}
    metrics = Metrics(**values, model="m", data="d", skipped=("q" * 30,) * 9, ids=(), correct=())
    assert "avg@128" in check_fits(print_metrics, metrics)


WORDS = st.text("abc123%.,[]–", min_size=1, max_size=24)
CELLS = st.lists(WORDS, min_size=1, max_size=3).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 9).flatmap(
        lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n), min_size=2, max_size=4)
    )
)
def test_any_table_keeps_its_words(rows: list[list[str]]) -> None:
    def show(console) -> None:
        table = make_table("title", *rows[0])
        for row in rows[1:]:
            table.add_row(*map(plain, row))
        print_tables([table], console)

    check_fits(show)
    order = [word for word in rendered(show, width=1_000).split() if not set(word) <= {"─"}]
    assert order == ["title", *(word for row in rows for word in " ".join(row).split())]


def test_a_wide_table_is_printed_in_parts_with_its_first_column(tmp_path: Path) -> None:
    def show(console) -> None:
        table = make_table("title", "entry", *(f"baseline-number-{i:02d}" for i in range(8)))
        table.add_row("mine", *(f"+{i}.0" for i in range(8)))
        print_tables([table], console)

    assert check_fits(show).count("mine") == 2 + 1
