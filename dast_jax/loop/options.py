"""Options of the loop itself. No jax here."""

from __future__ import annotations

from dataclasses import dataclass

from dast_jax.assets import refuse_remote
from dast_jax.options import opt

__all__ = ["RunOptions"]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where a run lives and how many rounds it has."""

    dir: str = opt(help="folder of the run; the same folder again resumes it", changes_result=False)
    seed: int = opt(0, "seed of everything random: sampling noise, shuffles, choices", min=0, max=2**31 - 1)
    rounds: int = opt(
        2, "self-training rounds after round 0; may be raised to extend a run", min=0, changes_result=False
    )
    flush_responses: int = opt(
        256, "verified responses held in memory before they are written", min=1, changes_result=False
    )
    flush_seconds: float = opt(
        30.0, "seconds after which held responses are written anyway", min=0, changes_result=False
    )
    grace_seconds: float = opt(
        0.0,
        "seconds from a signal until the machine is gone; a training state that cannot be saved within them "
        "is left out, and the last checkpoint is kept; 0: as long as it takes",
        min=0,
        changes_result=False,
    )
    repair: bool = opt(
        False, "repeat finished rounds whose files are damaged, instead of refusing", changes_result=False
    )
    mirror: str = opt(
        "",
        "a copy of the folder, kept up to date, from which a new machine resumes: gs://…, s3://… or a path",
        changes_result=False,
    )
    note: str = opt("", "free text, kept with the run", changes_result=False)

    def __post_init__(self) -> None:
        refuse_remote(self.dir, "run.dir must be a local folder; run.mirror may be remote")
        if self.mirror:
            from dast_jax.store.mirror import check_address  # here, as it imports pyarrow

            check_address(self.mirror)
