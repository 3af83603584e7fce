"""Makes the embedded byte-level tokenizer: any text round-trips, a digit is always one token.

The byte-pair merges are learned from a fixed sample of the problems and a page of plain English (for
word problems such as GSM8K's); the split before them keeps digits apart and the expressions' symbol
groups (`((`, `)*`, ` = `) whole, so that a step of a solution is a handful of tokens.

    python launch/make_assets/tokenizer.py --out dast_jax/assets/base_model
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from corpus import CorpusOptions, corpus_problem, format_problem
from problems import SEED, render_solution
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

__all__ = ["EOS", "PAD", "VOCABULARY", "build_tokenizer", "save_tokenizer"]

EOS, PAD = "<|end|>", "<|pad|>"
VOCABULARY = 384

# The pieces that no merge may cross, tried in this order.
_GROUPS = (
    r"\n#### ?|\n\n|\nA:|Q:",  # the frame of a problem and its solution
    r" = ",  # what joins two steps
    r"=\?|\(+|\)[-+*/](?!\()|[-+*/]\(+|\)+",  # parentheses, with the operator beside them
    r"\p{N}",
    r" ?\p{L}+",
    r"\s+(?!\S)|\s|[^\s\p{L}\p{N}]",
)

# Plain English in the manner of word problems, written for this purpose.
_ENGLISH = """
Mary has some apples and she gives half of them to her brother. How many apples does she have in total?
There are three boxes on the table and each box holds twice as many pencils as the box before. How many pencils are there in all?
A train leaves the station at noon and travels for two hours at the same speed. How far does it go each hour?
Tom earns ten dollars an hour and works for six hours every day. How much money does he make per week?
The price of the book is more than the price of the pen. What is the total cost for both of them?
He buys eggs at the market and sells the remaining eggs for a dollar each. She then spends the rest of the money.
If the number of students is larger than before, how many more chairs would the school need for the class?
First we add the two numbers, then we subtract the other one, so the answer is what is left after that.
They have to pay for the tickets, the food and the drinks, which were all sold during the first day of the month.
One third of the children like the red cars while the others like blue. How long will it take to finish the work?
"""  # noqa: E501


def _sample_corpus(seed: int) -> list[str]:
    rng = random.Random(f"{seed} tokenizer")
    texts = []
    for k in range(4000):
        problem = corpus_problem(rng, CorpusOptions())
        solution = render_solution(rng, problem, short=k % 4 == 0)
        texts.append(f"{format_problem(problem.question, solution)}\n\n")
    return texts + _ENGLISH.strip().split("\n") * 3


def build_tokenizer(seed: int = SEED) -> PreTrainedTokenizerFast:
    """Return the tokenizer: 384 entries with the end and padding tokens; it adds no special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("|".join(_GROUPS)), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[EOS, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_sample_corpus(seed), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=EOS, pad_token=PAD, clean_up_tokenization_spaces=False
    )


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json, with a class name that transformers 4 and 5 know."""
    tokenizer.save_pretrained(out)
    file = out / "tokenizer_config.json"
    config = json.loads(file.read_text())
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    file.write_text(json.dumps(config, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("dast_jax/assets/base_model"))
    parser.add_argument("--seed", type=int, default=SEED)
    args = parser.parse_args()
    save_tokenizer(build_tokenizer(args.seed), args.out)


if __name__ == "__main__":
    main()
