"""The report's numbers about queries, rows, probes, cost and contamination, on the made-up run."""

import json
from pathlib import Path

import pytest
from helpers_fake_run import make_run
from test_report import HOSTILE, Page, edited

from dast_jax.reporting.report import render_report


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "quickstart")


@pytest.fixture(scope="module")
def words(run) -> str:
    return Page(render_report([run])).words.replace("\u202f", " ")


def test_reach_of_every_level_round_by_round(words):
    assert "Training queries by level" in words
    assert "Levels are the method's own estimate." in words
    # round 1, unsolved: queries, sampled, solved so far, newly solved, covered, so far, rows
    assert "round 1, unsolved 23 23 12 3 11 12 46" in words


def test_transitions_are_the_probes_where_there_are_any(run, words, tmp_path):
    assert "First level, and level after round 2" in words
    assert "By the trials of the probe" in words
    assert "hard 5 15 12 4 6" in words

    def without_probe(summary):
        for entry in [summary["base"], *summary["rounds"]]:
            entry["probe"] = None

    own = Page(render_report([edited(run, tmp_path, without_probe)])).words
    assert "First level, and level under M_t of round 2" in own
    assert "By the round's own trials. A method that stops sampling" in own
    assert "The same queries under every policy" not in own


def test_reliability(words):
    assert "round 0 256 4 71.0 % 0.53 0.80 0.89" in words


def test_false_positives(words):
    assert "False positives: correct answer, wrong step" in words
    assert "36 of 2,070 correct responses that show readable steps; 30 show none." in words


def test_origin_and_frequency_of_training_rows(words):
    assert "round 0 256 0 0 256" in words  # reference, M_0 few-shot, M_t matched, total
    assert "round 1 256 310 277 843" in words
    assert "How often a query was trained on" in words


def test_the_probe(run, words):
    summary = json.loads((run / "summary.json").read_text())
    probe = summary["rounds"][2]["probe"]
    assert "Pass rate zero-shot and few-shot" in words
    assert "32 training queries, 8 trials each." in words
    assert f"{100 * probe['zero_shot']['accuracy']:.1f} % [50.0, 70.0] · 21.0 tokens" in words
    assert "Training queries of the probe: pass@k, few-shot" in words
    for title in ("Mean token entropy (nats)", "Different correct responses to a query, at equal trials"):
        assert title in words
    assert "3 1 1.46" in words  # solved, lost, length ratio of round 2


def test_marginal_cost(words):
    assert "round 2 500 G 125 G no gain 3 167 G" in words


def test_contamination_with_ids(words):
    assert "Evaluation questions in the training questions." in words
    assert "in_domain 500 1 2 2.1 % 7" in words
    assert "in_domain-0 (100.0 %), in_domain-9 (62.5 %)" in words


def test_lengths_by_level(run, words):
    entry = json.loads((run / "summary.json").read_text())["base"]["evaluation"]["in_domain"]["by_level"]["3"]
    low, high = (100 * v for v in entry["interval"])
    assert f"{100 * entry['accuracy']:.1f} % [{low:.1f}, {high:.1f}] · 32.0 tokens" in words


def test_what_is_unknown_is_said_or_left_out(run, tmp_path):
    def change(summary):
        for entry in summary["rounds"]:
            entry["marginal"] = None
            analysis = entry["analysis"]
            analysis |= {"levels_from": "none", "transitions": {}, "reliability": None, "steps": {}}
            analysis["origin"] = [{"part": "example", "policy": None, "prompt": None, "rows": 7}]
            analysis["progress"] = {"unknown": analysis["progress"]["easy"]}
            entry["probe"] = None
        summary["base"]["probe"] = None
        del summary["rounds"][2]["analysis"]
        summary["rounds"][2]["analysis"] = None

    words = Page(render_report([edited(run, tmp_path, change)])).words
    assert "No query has trials enough for a level." in words
    assert "Reliability of the levels: unknown" in words
    assert "not said" in words
    for title in ("False positives", "Marginal cost", "First level", "The same queries"):
        assert title not in words


def test_long_tables_are_behind_a_click(run):
    """Outside of details there are only tables of a few rows and the accuracy."""
    html = render_report([run])
    for title in ("Reach by level, round by round", "All rounds, queries", "The probe, policy by policy"):
        assert f"<details><summary>{title}</summary>" in html


def test_hostile_names_stay_text(tmp_path):
    page = render_report([make_run(tmp_path / "r", hostile=HOSTILE)])
    assert "<script>alert(1)" not in page
    assert "in_domain-0" in Page(page).words
