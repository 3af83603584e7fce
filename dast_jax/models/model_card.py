"""The model card (README.md) of an exported model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath

from dast_jax.models.families import FAMILIES
from dast_jax.models.llama_config import LlamaConfig

__all__ = ["model_card"]

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(@[\w./-]+)?")


_LOAD_MODEL = (
    "from transformers import AutoModelForCausalLM, AutoTokenizer",
    "",
    'model = AutoModelForCausalLM.from_pretrained("path/to/this/folder")',
)
_LOAD_ADAPTER = (
    "from peft import PeftModel",
    "from transformers import AutoModelForCausalLM, AutoTokenizer",
    "",
    'base = AutoModelForCausalLM.from_pretrained("path/to/the/base/model")',
    'model = PeftModel.from_pretrained(base, "path/to/this/folder")',
)


def model_card(
    base: str,
    config: LlamaConfig,
    *,
    method: str,
    round: int,
    adapter: bool = False,
    sections: Sequence[str] = (),
) -> str:
    """Return the card of the policy after `round` of a run of `method` from the model `base`.

    With `adapter`, it is that of the policy's LoRA adapter alone; `sections` are Markdown, put after what
    every card has.

    A base model that is a local path is named by its last part alone: a card may be published.
    """
    name, _, revision = base.partition("@")
    hub = _HUB_ID.fullmatch(base) is not None
    shown = base if hub else PurePath(base.removeprefix("asset:")).name
    library = "peft" if adapter else "transformers"
    head = ["---", f"library_name: {library}", "pipeline_tag: text-generation"]
    if hub:
        head.append(f"base_model: {name}")
    head += ["tags:", "- dast_jax", "---"]
    architecture = FAMILIES[config.family].architecture
    at = f" (revision {revision})" if hub and revision else ""
    return "\n".join(
        [
            *head,
            "",
            f"# {PurePath(shown.partition('@')[0]).name}, {'adapter ' if adapter else ''}trained by {method}",
            "",
            f"`{name if hub else shown}`{at} after round {round} of self-training with dast_jax,",
            f"method `{method}`.",
            f"Architecture: {architecture}.",
            "",
            "```python",
            *(_LOAD_ADAPTER if adapter else _LOAD_MODEL),
            'tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")',
            "```",
            "",
            *(line for section in sections for line in (section, "")),
            "See the base model and the training data for the terms of use.",
            "",
        ]
    )
