"""How exact composed samples and budgets are: `python -m speed.fidelity`, some minutes. The table is in docs/speed.md.

For every task and six tokenizers in use (tests/real_tokenizers.py says from which packages), samples of four needles in
4,096 tokens are made as they are for training, and once more by tokenizing the whole rendered text.
"""

from __future__ import annotations

from statistics import mean

from needlework.dataset.encoded import encode
from needlework.dataset.synthetic import SyntheticDataset
from needlework.models.chat import Renderer
from needlework.tasks import TASKS, make_task
from needlework.tasks.draft import Pieces
from tests.real_tokenizers import NAMES, real_tokenizer

SAMPLES, NEEDLES, MAX_TOKENS = 32, 4, 4096


def main() -> None:
    """Print a line for each task: all tokenizers together."""
    print(f"{'task':17}{'composed':>9}{'rows':>7}{'differ':>8}{'over budget':>13}{'mean fill':>11}")
    for task in sorted(set(TASKS) - {"mixture"}):
        differ: list[bool] = []
        longest: list[int] = []
        composed = "yes"
        for name in NAMES:
            is_composed, differs, lengths = measure(task, name)
            composed = composed if is_composed else "no"
            differ += differs
            longest += lengths
        over, fill = sum(tokens > MAX_TOKENS for tokens in longest), mean(longest) / MAX_TOKENS
        print(f"{task:17}{composed:>9}{len(differ):7}{sum(differ):8}{over:13}{fill:11.1%}", flush=True)


def measure(task: str, tokenizer: str) -> tuple[bool, list[bool], list[int]]:
    """Return whether samples were composed, whether each row differs from its text's, and each longest row."""
    renderer = Renderer(real_tokenizer(tokenizer).fast)
    data = SyntheticDataset(make_task(task), SAMPLES, NEEDLES, MAX_TOKENS, renderer)
    differ, longest = [], []
    for index, rows in enumerate(data.encoded_many(range(SAMPLES))):
        plain = encode(data[index], renderer)
        for row, other in zip(rows, plain, strict=True):
            differ.append(row.input_ids.tolist() != other.input_ids.tolist() or row.gold != other.gold)
        longest.append(max(len(row.input_ids) for row in plain))
    composed = isinstance(data.draft(0)[0].contents, Pieces) and not data.composer.refused
    return composed, differ, longest


if __name__ == "__main__":
    main()
