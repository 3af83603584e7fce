"""The report and the terminal tables, on made-up run directories: content, safety, and what is missing."""

import csv
import dataclasses
import io
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from helpers_fake_run import make_run
from rich.console import Console

from dast_jax.metrics import stats
from dast_jax.report import main
from dast_jax.reporting.csv_link import csv_text
from dast_jax.reporting.load import load_run
from dast_jax.reporting.markup import Html, text
from dast_jax.reporting.report import ReportOptions, render_report, write_report
from dast_jax.reporting.run_tables import print_metrics, print_summary
from dast_jax.reporting.terminal import WIDTH
from dast_jax.store.analysis_results import LevelAccuracy
from dast_jax.store.evaluation_results import Metrics, VerdictCounts
from dast_jax.store.results import Summary, TrainingResult
from dast_jax.store.typed_json import read_result, to_json

HOSTILE = (
    "</pre></style></title><script>alert(1)</script><img src=x onerror=alert(2)>\"' onload='x'&lt;<!--]]>"
    "\x00\x1b[31m\ud800 [red]{{7*7}}"
)


class Page(HTMLParser):
    """What a browser would make of the page: its elements, visible text, and whether tags nest."""

    VOID = frozenset({"meta", "br", "img", "link", "input", "hr"})
    SVG_EMPTY = frozenset({"line", "rect", "circle", "polygon", "polyline", "path"})

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.text))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "quickstart")


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "sft", name="sft-only", method="sft", seed=1, gain=0.0)


def copied(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "copy"))


def edited(run: Path, tmp_path: Path, change) -> Path:
    folder = copied(run, tmp_path)
    summary = json.loads((folder / "summary.json").read_text())
    del summary["digest"]
    change(summary)
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


# --- the page -------------------------------------------------------------------------------------------


def test_page_shows_every_part_of_a_run_with_its_numbers(run):
    summary = json.loads((run / "summary.json").read_text())
    words = Page(render_report([run])).words
    base, last = summary["base"]["evaluation"]["in_domain"], summary["rounds"][-1]["evaluation"]["in_domain"]
    low, high = (100 * v for v in summary["rounds"][-1]["paired"]["in_domain"]["interval"])
    before, after = 100 * base["accuracy"], 100 * last["accuracy"]
    first, second = (f"({entry['mean_length']:.1f} tokens a response)" for entry in (base, last))
    assert f"accuracy went from {before:.1f} % {first} to {after:.1f} % {second} by round 2" in words
    assert f"(+{after - before:.1f} points, paired 95 % interval {low:+.1f} to {high:+.1f})" in words
    for heading in (
        "Accuracy",
        "Training data",
        "Responses",
        "Sample responses",
        "Training, time and work",
        "Configuration",
        "Warnings",
        "Length ratio by round",
        "Verdicts on sampled responses",
        "Sampling: correct per trial",
        "Level shares of the training data",
        "Seconds by stage",
        "FLOPs by stage",
        "So far: sampling and training from round 0 on",
        "Training loss",
        "learning_rate: 0.0003",
        "14 hard, 12 unsolved",
        "2 training queries are longer than 300 tokens",
    ):
        assert heading in words, heading
    for level, entry in last["by_level"].items():
        assert f"level {level}" in words
        assert f"{100 * entry['accuracy']:.1f} %" in words
    assert "round 0 trains on the reference solutions alone" in words


def test_page_is_small_self_contained_and_accessible(run, tmp_path):
    out = write_report([run], tmp_path / "report.html")
    assert out.stat().st_size < 1_000_000
    html = out.read_text(encoding="utf-8")
    page = Page(html)
    names = [tag for tag, _ in page.tags]
    assert not set(names) & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    assert not re.search(r"https?://|@import|url\(", html)
    assert not [a for _, attrs in page.tags for a in attrs if a == "src" or a.startswith("on")]
    links = [attrs for _, attrs in page.tags if "href" in attrs]
    assert all(a["href"].startswith("data:text/csv;charset=utf-8,") and a["download"] for a in links)
    charts = [attrs for tag, attrs in page.tags if tag == "svg" and attrs.get("class") != "key"]
    assert len(charts) >= 10
    assert all(a["role"] == "img" and a["aria-label"] for a in charts)
    assert names.count("figcaption") == names.count("figure") == len(charts)
    assert "prefers-color-scheme:dark" in html
    assert 'name="viewport"' in html
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def _saved(page: Page) -> dict[str, list[list[str]]]:
    """The CSV files that the page offers, by name."""
    found = {}
    for tag, attrs in page.tags:
        if tag == "a":
            content = unquote(attrs["href"].partition(",")[2])
            found[attrs["download"]] = list(csv.reader(content.splitlines()))
    return found


def test_every_chart_offers_its_numbers_as_csv(run):
    summary = json.loads((run / "summary.json").read_text())
    page = Page(render_report([run]))
    files = _saved(page)
    charts = [attrs for tag, attrs in page.tags if tag == "svg" and attrs.get("class") != "key"]
    assert len(files) == len(charts) >= 10
    head, *rows = files["in_domain_accuracy_by_round.csv"]
    assert head == ["round", "series", "value", "low", "high"]
    entries = [summary["base"], *summary["rounds"]]
    assert [row[0] for row in rows] == ["base", "0", "1", "2"]
    for row, entry in zip(rows, entries, strict=True):
        expected = entry["evaluation"]["in_domain"]
        assert [float(v) for v in row[2:]] == pytest.approx([expected["accuracy"], *expected["interval"]])
    losses = [row for row in files["Training_loss_nats_per_token.csv"][1:] if row[1] == "round 0"]
    assert len(losses) > 10


def test_text_in_a_csv_is_no_formula():
    assert csv_text([["=1+1", "-x", "@a", "+b"], ["ok", -1.5, None, "a,b"]]) == (
        "'=1+1,'-x,'@a,'+b\nok,-1.5,,\"a,b\"\n"
    )


def test_truncated_and_run_away_responses_are_marked(run):
    words = Page(render_report([run])).words
    assert "truncated at 41 tokens" in words
    assert "runs away" in words
    assert re.search(r"in_domain, round 2 500 \d+ \(\d+%\) \d+ \(\d+%\)", words)


_MEASURE = (
    "<script>const wide=[...document.querySelectorAll('.scroll')].filter(e=>e.clientWidth&&"
    "e.scrollWidth>e.clientWidth+1).map(e=>e.scrollWidth-e.clientWidth+' '+e.textContent.slice(0,60));"
    "document.title='wide:'+document.scrollingElement.scrollWidth+':'+wide.join('|')</script></body>"
)


def _too_wide(html: str, width: int, folder: Path) -> str:
    """Lay the page out in a window of that width; return what is wider than its place, empty for nothing."""
    file = folder / "page.html"
    file.write_text(re.sub(r"<meta http-equiv[^>]*>", "", html).replace("</body>", _MEASURE), "utf-8")
    arguments = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    command = ["chromium", *arguments, f"--window-size={width},900", "--dump-dom", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    title = re.search(r"<title>wide:(\d+):(.*?)</title>", done.stdout, re.S)
    assert title is not None
    return title[2] if int(title[1]) <= width else f"the page: {title[1]} px"


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
@pytest.mark.parametrize("several", [False, True])
def test_page_fits_a_window_and_a_printed_sheet(run, other, tmp_path, several):
    """As a browser lays it out: at 1280 px no table scrolls, and on paper no column is cut off."""
    html = render_report([run, other] if several else [run])
    assert _too_wide(html, 1280, tmp_path) == ""
    printed = html.replace("@media print{", "@media all{").replace("<details>", "<details open>")
    assert _too_wide(printed, 1047, tmp_path) == ""  # A4 across, without margins of 10 mm


def test_hostile_text_stays_text(tmp_path):
    folder = make_run(tmp_path / "evil", hostile=HOSTILE)
    second = make_run(tmp_path / "evil2", name="b", hostile=HOSTILE, seed=1)
    out = write_report([folder, second], tmp_path / "r.html")
    html = out.read_text(encoding="utf-8")
    page = Page(html)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "img"}
    assert not [a for _, attrs in page.tags for a in attrs if a.startswith("on")]
    assert "<script>alert(1)</script><img src=x onerror=alert(2)>" in page.words
    assert "\x00" not in html
    assert "\x1b" not in html


def test_text_escapes_once_and_leaves_markup_alone():
    assert text('<b a="\'">&amp;') == "&lt;b a=&quot;&#x27;&quot;&gt;&amp;amp;"
    assert text(Html("<b>")) == "<b>"
    assert text("a\ud800\x00\r\n\tb") == "a\\ud800\\x00\\r\n\tb"
    assert text("\x1b[2J\x07\x9b\u202e<") == "\\x1b[2J\\x07\\x9b\\u202e&lt;"
    assert text(None) == "None"


def test_samples_lead_with_what_changed_and_are_limited(run):
    page = render_report([run], ReportOptions(samples=3, characters=10))
    assert page.count('class="card sample"') == 3
    kinds = re.findall(
        r'<div class="meta">[^<]*· (incorrect → correct|correct → incorrect|correct|incorrect)</div>', page
    )
    assert kinds[0] == "incorrect → correct"
    assert "characters more)" in page
    assert "Sample responses" not in render_report([run], ReportOptions(samples=0))
    everything = render_report([run], ReportOptions(samples=500))
    assert everything.count('class="card sample"') == 3 * 5 + 3 * 3


# --- runs that are not finished, or lack parts ------------------------------------------------------------


def test_unfinished_run_is_shown_as_far_as_it_got(tmp_path):
    words = Page(render_report([make_run(tmp_path / "r", finished=False, rounds=2)])).words
    assert "The run is unfinished" in words
    assert "by round 0" in words


def test_run_that_has_just_begun(tmp_path):
    folder = make_run(tmp_path / "r")
    for file in folder.rglob("*"):
        if file.is_file() and file.name != "manifest.json":
            file.unlink()
    words = Page(render_report([folder])).words
    assert "nothing has been evaluated yet" in words
    assert "unfinished" in words


def test_run_with_only_the_base_evaluated(run, tmp_path):
    folder = edited(run, tmp_path, lambda s: s.update(rounds=[], status="running"))
    words = Page(render_report([folder])).words
    assert "in_domain starts at" in words
    assert "before training" in words


def test_rounds_without_evaluation_are_skipped_over(run, tmp_path):
    def only_last(summary):
        for entry in summary["rounds"][:-1]:
            entry |= {"evaluation": {}, "paired": {}, "length_ratio": None}

    words = Page(render_report([edited(run, tmp_path, only_last)])).words
    assert "by round 2" in words
    assert "last − round 0" not in words


def test_missing_values_leave_gaps_not_errors(run, tmp_path):
    """What an unfinished run does not have yet, or a method without levels never has."""

    def strip(summary):
        summary |= {"versions": {}, "mesh": {}, "warnings": [], "device": "", "name": ""}
        for entry in summary["rounds"]:
            entry |= {"level_shares": None, "shortfall": {}, "training": None}
            entry["flops"] |= {"train": None, "evaluate": None}
            entry["seconds"] |= {"build": None, "train": None, "evaluate": None}
            entry["sampling"]["mean_length_by_level"] = {}
        nothing = dict.fromkeys(("trials", "correct", "incorrect", "no_answer", "timed_out", "tokens"), 0)
        summary["rounds"][0]["sampling"] |= nothing
        summary["rounds"][1]["sampling"]["mean_length_by_level"] = {"easy": None, "hard": 3.0}
        summary["rounds"][-1]["training"] = to_json(TrainingResult())

    folder = edited(run, tmp_path, strip)
    for file in folder.glob("rounds/*/eval.json"):
        file.unlink()
    words = Page(render_report([folder])).words
    assert "copy" in words  # the folder's name is shown instead of the run's
    assert "Accuracy" in words
    assert "Sample responses" not in words


def test_torn_files_of_a_running_run_cost_only_their_plot(run, tmp_path):
    folder = copied(run, tmp_path)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"time": 1.0, "stage": "evaluation", "round": 0, "accuracy": 0.5}\n{"stage": "tra')
    next(folder.glob("rounds/01/responses/*")).write_bytes(b"PAR1 torn")
    (folder / "rounds/02/eval.json").write_text('{"sets": {')
    data = load_run(folder)
    assert sorted(data.efficiency) == [0, 2]
    assert sorted(data.losses) == [0, 1, 2]
    assert "Sampling: correct per trial" in Page(render_report([folder])).words


def test_a_step_logged_twice_counts_once(run, tmp_path):
    folder = copied(run, tmp_path)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"stage": "train", "round": 0, "step": 1, "loss": 9.0}) + "\n")
    before, after = load_run(run).losses[0], load_run(folder).losses[0]
    assert len(after) == len(before)
    assert after[0] == (1, 9.0)


def test_efficiency_matches_the_difficulty_table(run):
    import pyarrow.parquet as pq

    rows = pq.read_table(run / "rounds/01/difficulty.parquet").to_pylist()
    for level, (correct, trials) in load_run(run).efficiency[1].items():
        of_level = [row for row in rows if row["level"] == level]
        assert trials == sum(row["trials"] for row in of_level)
        assert correct == sum(row["correct"] for row in of_level)


# --- several runs -----------------------------------------------------------------------------------------


def test_comparison_pairs_the_last_rounds_by_question(run, other):
    html = render_report([run, other])
    words = Page(html).words
    assert "2 runs compared" in words
    evals = [
        json.loads((r / "rounds/02/eval.json").read_text())["sets"]["in_domain"]["correct"]
        for r in (other, run)
    ]
    paired = stats.paired_difference(*evals)
    low, high = (f"{100 * v:+.1f}".replace("-", "−") for v in paired.interval)
    assert f"[{low}, {high}]" in words
    assert words.count("Training loss (nats per token)") == 2


def test_runs_of_one_name_are_distinguished(run, tmp_path):
    twin = Path(shutil.copytree(run, tmp_path / "twin"))
    words = Page(render_report([run, twin])).words
    assert "twin" in words
    same = Page(render_report([run, run])).words
    assert "(1)" in same
    assert "(2)" in same


# --- the command ----------------------------------------------------------------------------------------


def test_command_writes_the_report(run, other, tmp_path, capsys):
    out = tmp_path / "both.html"
    assert main(["--run", str(run), "--run", str(other), "--out", str(out), "samples=2"]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    assert out.read_text(encoding="utf-8").count('class="card sample"') == 4


@pytest.mark.parametrize(
    ("prepare", "says"),
    [
        (lambda d: d / "nowhere", "no such run directory"),
        (lambda d: d, "not a run directory"),
        (lambda d: (d / "summary.json").write_text("{torn") and d, "not valid JSON"),
        (lambda d: (d / "summary.json").write_text("[]") and d, "not readable as a JSON object"),
        (
            lambda d: (d / "summary.json").write_text('{"schema": "dast_jax.summary/1"}') and d,
            "its schema is 'dast_jax.summary/1' and this version reads 'dast_jax.summary/3'",
        ),
        (
            lambda d: (d / "summary.json").write_text('{"schema": "dast_jax.summary/3"}') and d,
            "status: missing",
        ),
        (
            lambda d: (d / "manifest.json").write_text('{"schema": "dast_jax.run/1"}') and d,
            "its schema is 'dast_jax.run/1' and this version reads 'dast_jax.run/4'",
        ),
    ],
)
def test_bad_run_directory_gets_one_sentence_and_exit_code_2(prepare, says, tmp_path, capsys):
    folder = tmp_path / "run"
    folder.mkdir()
    code = main(["--run", str(prepare(folder)), "--out", str(tmp_path / "r.html")])
    error = capsys.readouterr().err
    assert code == 2
    assert says in error
    assert str(folder) in error
    assert error.count("\n") == 1
    assert "Traceback" not in error
    assert not (tmp_path / "r.html").exists()


def test_command_needs_its_flags_and_a_place_to_write(run, tmp_path, capsys):
    assert main(["--run", str(run)]) == 2
    assert main(["--run", str(run), "--out", str(tmp_path / "no" / "r.html")]) == 2
    assert main(["--run", str(run), "--out", str(tmp_path / "r.html"), "sampels=3"]) == 2
    assert "samples" in capsys.readouterr().err


def test_report_and_tables_import_nothing_heavy():
    code = (
        "import sys, dast_jax.report, dast_jax.reporting.run_tables, dast_jax.reporting.sections\n"
        "heavy = ('jax', 'matplotlib', 'pyarrow', 'transformers', 'rich', 'scipy')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- terminal tables --------------------------------------------------------------------------------------


def printed(function, *args) -> str:
    console = Console(file=io.StringIO(), width=WIDTH)
    function(*args, console=console)
    return console.file.getvalue()


def test_summary_tables_fit_and_hold_the_numbers(run):
    summary = read_result(Summary, run / "summary.json")
    out = printed(print_summary, summary)
    assert max(map(len, out.splitlines())) <= 80
    last = summary.rounds[-1]
    low, high = (100 * v for v in last.paired["out_of_domain"].interval)
    assert f"[{low:+.1f}, {high:+.1f}]" in out
    entry = last.evaluation["in_domain"].by_level["5"]
    assert f"{100 * entry.accuracy:.1f} % [{100 * entry.interval[0]:.1f}, " in out
    for phrase in (
        "36.4 → 25.7",
        "14 hard, 12 unsolved",
        "length ratio",
        "30.0 % [20.0, 40.0]    21.0",
        "warning: 2 training queries",
        "262 total",
    ):
        assert phrase in out


def test_summary_tables_of_what_has_just_begun_or_stopped(run, tmp_path):
    summary = read_result(Summary, run / "summary.json")
    begun = dataclasses.replace(summary, base=None, rounds=(), warnings=())
    assert printed(print_summary, begun).strip() == ""
    folder = make_run(tmp_path / "r", finished=False, rounds=1)
    assert "base" in printed(print_summary, read_result(Summary, folder / "summary.json"))


def test_names_are_not_read_as_markup(run):
    summary = read_result(Summary, run / "summary.json")
    base = summary.base.evaluation
    base["[red]x[/red]"] = base["in_domain"]
    summary = dataclasses.replace(summary, warnings=("[bold]careful[/bold]", "\x1b[2Jgone"))
    out = printed(print_summary, summary)
    assert "[red]x[/red]" in out
    assert "[bold]careful[/bold]" in out
    assert "\x1b" not in out


def test_metrics_table_shows_pass_and_majority():
    metrics = Metrics(
        model="m",
        data="d",
        skipped=tuple(f"q{i}" for i in range(7)),
        **vars(stats.accuracy_entry([4, 0, 2], 4)),
        by_level={
            level: LevelAccuracy(**vars(entry), mean_length=20.0)
            for level, entry in stats.by_level([4, 0, 2], 4, ["1", "2", "2"]).items()
        },
        verdicts=VerdictCounts(correct=6, incorrect=5, no_answer=1, timed_out=0),
        truncated=0,
        mean_length=3.0,
        trials=4,
        pass_at={"2": stats.pass_at_k([4, 0, 2], 4, 2)},
        majority_at={"4": stats.majority_at_k([["1"] * 4] * 3, [[True] * 4] * 3, 4)},
        ids=("a", "b", "c"),
        correct=(4, 0, 2),
    )
    out = printed(print_metrics, metrics)
    for phrase in (
        "mean of 4 trials",
        "50.0 %",
        "level 2",
        "pass@2",
        "61.1 %",
        "majority@4",
        "no answer 1",
        "2 more",
    ):
        assert phrase in out
