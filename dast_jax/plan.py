"""`python -m dast_jax.plan --config C [--topology v5p:2x2x1]`: memory, work and time before you pay.

Compiles the run's own programs from shapes alone, for chips that need not be there.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from dast_jax.cli import Arguments, Flag, command, output_path
from dast_jax.cli.schemas import RunSchema
from dast_jax.errors import UserError

__all__ = ["main"]

ARGUMENTS = Arguments(
    "plan",
    "Plan a run: whether it fits, and what it takes, from shapes alone.\n"
    "Needs neither the devices nor the model's weights.",
    RunSchema(),
    Flag("--topology", help="v5p:2x2x1, v5e:4x4, v6e:2x4, h100:8, l4:1, cpu:8 (default: the devices here)"),
    Flag("--model-config", help="a config.json, or llama-3.1-8b, llama-3.2-1b, … (default: model.path's)"),
    Flag("--queries", help="training queries (default: data.limit, or as many as GSM8K has)"),
    Flag("--response-tokens", help="tokens of a mean response (default: half of sampling.max_new_tokens)"),
    Flag("--search", switch=True, help="where it does not fit, compile what should until something does"),
    Flag("--json", switch=True, help="print the plan as JSON"),
    Flag("--out", help="write the plan to this JSON file"),
)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Plan and print. Returns the exit code."""
    args, config = ARGUMENTS.parse(argv)
    out = output_path(args.out) if args.out else None
    import json

    from dast_jax.planning import PlanOptions, find_target, make_plan, model_shapes
    from dast_jax.reporting.plan_tables import print_plan
    from dast_jax.store.typed_json import to_json, write_result

    numbers = {flag: _number(flag, getattr(args, flag)) for flag in ("queries", "response_tokens")}
    target = find_target(args.topology, config.mesh.cpu_devices)
    model = model_shapes(config.model.path, args.model_config)
    options = PlanOptions(search=args.search, **numbers)
    plan = make_plan(config, model, target, options, on_stage=lambda text: print(text, file=sys.stderr))
    if out:
        write_result(out, plan)
    print(json.dumps(to_json(plan), indent=2)) if args.json else print_plan(plan)


def _number(flag: str, text: str | None) -> int | None:
    if text is not None and not (text.isdigit() and int(text)):
        raise UserError(f"--{flag.replace('_', '-')}: expected a positive number, got {text!r}")
    return None if text is None else int(text)


if __name__ == "__main__":
    sys.exit(main())
