"""What commands share: flags over file, overrides over flags; help; exit codes; one sentence per error."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

from dast_jax.cli import Arguments, Flag, command, output_path
from dast_jax.errors import DivergedError, InterruptedRunError, UserError, disk_full
from dast_jax.options import opt
from dast_jax.options.yaml_text import parse_yaml

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    temperature: float = opt(1.0, "softmax temperature", min=0)
    stop: tuple[str, ...] = opt(("\n\n",), "stop strings")
    mode: str = opt("a", "which of two", choices=("a", "b"))


@dataclass(frozen=True, kw_only=True)
class Model:
    path: str = opt(help="a folder, 100 % of it")


@dataclass(frozen=True, kw_only=True)
class Config:
    model: Model = opt(Model)
    sampling: Sampling = opt(Sampling)


ARGUMENTS = Arguments(
    "sample",
    "Sample responses.",
    Config,
    Flag("--model", key="model.path", help="the model"),
    Flag("--out", required=True, help="rows go here"),
    Flag("--run", repeated=True, help="a run"),
)


def _sample(argv: list[str], seen: list | None = None) -> int:
    @command
    def main(argv=None):
        parsed = ARGUMENTS.parse(argv)
        if seen is not None:
            seen.append(parsed)

    return main(argv)


def test_file_then_flags_then_overrides(tmp_path) -> None:
    config_file = tmp_path / "c.yaml"
    config_file.write_text(
        "model: {path: from_file}\nsampling: {temperature: 0.5, mode: b}\n"
        "training: {epochs: 9}\n"  # a shared file may have another command's section
    )
    seen: list = []
    argv = [
        "--config",
        str(config_file),
        "sampling.temperature=2",
        "--model",
        "123",
        "--out",
        "o",
    ]
    assert _sample([*argv, "--run", "a", "--run", "b", "sampling.stop=[x]"], seen) == 0
    args, config = seen[0]
    assert (args.out, args.run) == ("o", ["a", "b"])
    assert config == Config(
        model=Model(path="123"), sampling=Sampling(temperature=2.0, mode="b", stop=("x",))
    )


def test_unknown_section_in_a_file_is_refused(tmp_path, capsys) -> None:
    config_file = tmp_path / "c.yaml"
    config_file.write_text("samplign: {temperature: 1}\n")
    assert _sample(["--config", str(config_file), "--model", "m", "--out", "o"]) == 2
    assert capsys.readouterr().err == "error: samplign: unknown key; did you mean sampling?\n"


def test_help_lists_every_key_with_type_and_default(capsys) -> None:
    assert _sample(["--help"]) == 0
    out = capsys.readouterr().out
    for text in (
        "usage: python -m dast_jax.sample",
        "sampling.temperature  (float; default 1.0)",
        'sampling.stop  (list of text; default ["\\n\\n"])',
        'sampling.mode  (text of a, b; default "a")',
        "model.path  (text; required)",
        "a folder, 100 % of it",
        "--out …",
        "rows go here (required)",
    ):
        assert text in out, out


def test_print_config_shows_what_is_still_missing(capsys) -> None:
    assert _sample(["--print-config"]) == 0
    assert parse_yaml(capsys.readouterr().out)["model"] == {"path": "REQUIRED"}


def test_print_config_reads_back_and_needs_no_required_flag(capsys) -> None:
    assert _sample(["--print-config", "model.path=m", "sampling.stop=[]"]) == 0
    printed = parse_yaml(capsys.readouterr().out)
    assert printed == {
        "model": {"path": "m"},
        "sampling": {"temperature": 1.0, "stop": [], "mode": "a"},
    }


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--model", "m"], "error: --out: must be given; see python -m dast_jax.sample --help\n"),
        (["--out", "o"], "error: model.path: this key is required; a folder, 100 % of it\n"),
        (["--ouch", "o"], "error: --ouch: unknown argument; see python -m dast_jax.sample --help\n"),
        (
            ["--out", "o", "--model", "m", "--sampling.temperature=1"],
            "error: --sampling.temperature=1: unknown argument; write it as sampling.temperature=1\n",
        ),
        (["--out"], "error: argument --out: expected one argument; see python -m dast_jax.sample --help\n"),
        (["--out", "o", "--model", "m", "stray"], "error: 'stray': an override is written key=value, for"),
        (["--out", "o", "--model", "m", "sampling.mode=c"], "error: sampling.mode: expected one of a, b,"),
        (["--out", "o", "--config", "no/such.yaml"], "error: no/such.yaml: no such config file"),
    ],
)
def test_usage_errors_exit_2_with_one_sentence(argv: list[str], message: str, capsys) -> None:
    assert _sample(argv) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(message)
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def _raising(error: BaseException | None, result: int | None = None) -> int:
    @command
    def main(argv=None):
        if error is not None:
            raise error
        return result

    return main([])


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (None, 0, ""),
        (UserError("rows.jsonl row 3: no answer"), 2, "error: rows.jsonl row 3: no answer\n"),
        (DivergedError("the loss is NaN at step 7"), 3, "the loss is NaN at step 7\n"),
        (InterruptedRunError("disk full"), 75, "disk full\n"),
        (KeyboardInterrupt(), 75, "stopped by SIGINT; run the same command to continue\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "x/y"),
            75,
            "disk full (writing x/y); free space and run the same command to continue\n",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 2, "error: /x: permission denied"),
        (OSError(errno.EROFS, "Read-only file system", "/x"), 2, "error: /x: the file system is read-only"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "/x"), 2, "error: /x: is a folder where a file"),
        (MemoryError(), 75, "out of memory; run the same command"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), 75, "out of memory; run the same command"),
    ],
)
def test_exit_codes(error: BaseException | None, code: int, message: str, capsys) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert _raising(error) == code
    assert signal.getsignal(signal.SIGTERM) == before
    captured = capsys.readouterr().err
    assert captured.startswith(message)
    assert "Traceback" not in captured


def test_the_log_is_shown_while_a_command_runs(capsys, caplog) -> None:
    logger = logging.getLogger("dast_jax.module")

    @command
    def main(argv=None):
        logger.warning("three rows skipped")
        logger.info("done")

    assert main([]) == 0
    assert capsys.readouterr().err == "warning: three rows skipped\ndone\n"
    logger.warning("outside of a command")
    assert "three" not in caplog.text
    assert "outside of a command" in caplog.text
    assert capsys.readouterr().err == ""


def test_a_bug_shows_its_traceback(capsys) -> None:
    assert _raising(ZeroDivisionError("oops")) == 1
    captured = capsys.readouterr().err
    assert "Traceback" in captured
    assert "ZeroDivisionError: oops" in captured


def test_disk_full_is_seen_through_wrappers() -> None:
    with pytest.raises(OSError, match="space") as caught, open("/dev/full", "w") as file:
        file.write("x" * 100_000)
    assert disk_full(caught.value) == ""
    wrapped = RuntimeError("saving failed")
    wrapped.__cause__ = caught.value
    assert disk_full(wrapped) == ""
    assert disk_full(ValueError("RESOURCE_EXHAUSTED: write: No space left on device")) == ""
    assert disk_full(ValueError("something else")) is None


PRINTING = """
    import sys
    from dast_jax.cli import command

    @command
    def main(argv=None):
        for _ in range(int(sys.argv[1])):
            print("5 → 6")

    raise SystemExit(main())
"""


def _printing(tmp_path: Path, lines: int, shell: str, **environment: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "print.py"
    script.write_text(textwrap.dedent(PRINTING))
    return subprocess.run(
        ["bash", "-c", f'"{sys.executable}" "{script}" {lines} {shell}'],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("lines", [1, 100_000])  # less than a buffer, and more
def test_a_closed_pipe_is_no_traceback(lines: int, tmp_path: Path) -> None:
    done = _printing(tmp_path, lines, "| true; exit ${PIPESTATUS[0]}")
    assert done.stderr == ""
    assert done.returncode in ((0, 75) if lines == 1 else (75,))  # one line may be gone before `true` is


def test_an_ascii_locale_shows_escapes(tmp_path: Path) -> None:
    done = _printing(tmp_path, 1, "", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert (done.returncode, done.stdout, done.stderr) == (0, "5 \\u2192 6\n", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_stop_cleanly_even_past_broad_excepts(number: signal.Signals, tmp_path) -> None:
    script = tmp_path / "stop.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys, time
            from dast_jax.cli import command

            @command
            def main(argv=None):
                try:
                    print("ready", flush=True)
                    for _ in range(600):
                        try:
                            time.sleep(0.1)
                        except Exception:
                            pass
                finally:
                    print("cleaned up", flush=True)

            if __name__ == "__main__":
                raise SystemExit(main())
            """
        )
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(number)
    out, err = child.communicate(timeout=20)
    assert child.returncode == 75
    assert out == "cleaned up\n"
    assert err == f"stopped by {number.name}; run the same command to continue\n"


def test_output_path(tmp_path) -> None:
    assert output_path(str(tmp_path / "x.json")) == tmp_path / "x.json"
    with pytest.raises(UserError, match="is a folder"):
        output_path(str(tmp_path))
    with pytest.raises(UserError, match="does not exist"):
        output_path(str(tmp_path / "no" / "x.json"))
