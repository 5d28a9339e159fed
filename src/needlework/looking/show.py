"""One sample as the model sees it, with the gold items, the gold pairs in them and the supervised text highlighted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain, pairwise
from typing import TYPE_CHECKING

from needlework.haystack import Haystack, Needle
from needlework.models.chat import Renderer
from needlework.visible import visible

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from needlework.dataset.own import OwnDataset
    from needlework.dataset.synthetic import SyntheticDataset

GOLD, SUPERVISED, MARKER = "bold black on yellow", ("bold white on dark_green", "bold white on green4"), "dim"
NEIGHBOUR = 150
"""Characters shown of an item that holds no gold pair, unless everything is shown."""

KEY = re.compile(r"\([^()]*\)|\d+")
PAIR = re.compile(rf"({KEY.pattern}): (\d+)")

Span = tuple[int, int]


def show(data: SyntheticDataset | OwnDataset, index: int, *, full: bool = False, plain: bool = False) -> Group:
    """Return a page of a sample for `rich`: the chat of its first needle, the other needles, and its figures.

    Args:
        data: The dataset.
        index: Index of the sample.
        full: Show every item and every question; otherwise the first item, the last and the gold ones, each gold one
            with the item after it.
        plain: Mark highlights with « and », for terminals without colour.

    Raises:
        BudgetError: If the sample cannot fit `max_tokens`.
    """
    from rich.console import Group
    from rich.text import Text

    haystack, renderer = data[index], data.renderer
    rows = renderer.rows(haystack)
    answers = [_supervised(renderer, completion, plain) for _, completion in rows]
    title = Text(f"{haystack.task}, {data.place(index)}", style="bold")
    parts: list[Text | Table] = [title, Text(), _chat(haystack, renderer, answers[0], full=full, plain=plain), Text()]
    if len(answers) > 1:
        parts += [Text("The other needles", style="bold"), Text(), _others(haystack, answers, full=full), Text()]
    return Group(*parts, _figures(haystack, rows, data.max_tokens))


def gold_pairs(haystack: Haystack, needle: Needle) -> dict[int, list[Span]]:
    """Return the spans of a needle's gold pairs, by item.

    A gold pair is a `key: value` whose key and value both occur in the answer, so everything that is collected or
    looked up on the way counts. In a gold item without one, such as prose, it is the first accepted string that
    occurs as whole words, or else the whole item.
    """
    named = set(KEY.findall(needle.answer))
    found: dict[int, list[Span]] = {}
    for index, item in enumerate(haystack.items):
        if spans := [match.span() for match in PAIR.finditer(item) if {match[1], match[2]} <= named]:
            found[index] = spans
    if needle.position >= 0 and needle.position not in found:
        item = haystack.items[needle.position]
        patterns = (rf"(?<!\w){re.escape(answer)}(?!\w)" for answer in needle.accepted)
        places = ([match.span() for match in re.finditer(each, item, re.IGNORECASE)] for each in patterns)
        found[needle.position] = next(filter(None, places), [(0, len(item))])
    return found


def shown_items(positions: Iterable[int], num_items: int) -> list[int]:
    """Return the items of the short view: the first, the last, and the gold ones, each with the one after it."""
    chosen = {0, num_items - 1}
    for position in positions:
        chosen |= {position, position + 1}
    # A line saying that one item was left out would be no shorter than the item.
    chosen |= {index + 1 for index in chosen if index + 2 in chosen}
    return sorted(index for index in chosen if 0 <= index < num_items)


def _chat(haystack: Haystack, renderer: Renderer, answer: Text, *, full: bool, plain: bool) -> Table:
    """Return the chat of the first needle, with the numbers of the needles next to their gold items."""
    from rich.text import Text

    needle = haystack.needles[0]
    before, found, after = renderer.prompt(haystack, needle).partition(haystack.message(needle))
    if not found:
        # The template changed the message, for example by stripping it.
        before, after = "", "\n"
    grid = _grid()
    if haystack.preamble:
        grid.add_row("", Text.assemble((before, MARKER), visible(haystack.preamble)))
        grid.add_row()
    else:
        # What follows begins a row of its own anyway.
        grid.add_row("", Text(before.removesuffix("\n"), MARKER))
    if haystack.items:
        _add_items(grid, haystack, full=full, plain=plain)
        grid.add_row()
    grid.add_row("", Text.assemble(visible(needle.question), (after, MARKER), answer))
    return grid


def _add_items(grid: Table, haystack: Haystack, *, full: bool, plain: bool) -> None:
    from rich.text import Text

    gold = [gold_pairs(haystack, needle) for needle in haystack.needles]
    num_items, last = len(haystack.items), -1
    for index in range(num_items) if full else shown_items(chain.from_iterable(gold), num_items):
        if left_out := index - last - 1:
            grid.add_row("", Text(f"… {left_out} more items", style=MARKER))
        last, item = index, haystack.items[index]
        if asked := [number for number, pairs in enumerate(gold, start=1) if index in pairs]:
            spans = _merged(span for pairs in gold for span in pairs.get(index, ()))
            grid.add_row(f"{','.join(map(str, asked))} ▸", _marked(item, spans, [GOLD], plain))
        else:
            grid.add_row("", Text(visible(item if full else _shortened(item))))


def _others(haystack: Haystack, answers: Sequence[Text], *, full: bool) -> Table:
    """Return the needles after the first: their answers, and in the full view their questions."""
    from rich.text import Text

    grid = _grid()
    for number, (needle, answer) in enumerate(zip(haystack.needles, answers, strict=True), start=1):
        if number > 1:
            grid.add_row(f"{number} ▸", Text.assemble(f"{visible(needle.question)}\n" if full else "", answer))
    return grid


def _figures(haystack: Haystack, rows: Sequence[tuple[list[int], list[int]]], max_tokens: int) -> Table:
    """Return the sizes of a sample."""
    tokens = max(len(prompt) + len(completion) for prompt, completion in rows)
    total = sum(len(prompt) + len(completion) for prompt, completion in rows)
    supervised = sum(len(completion) for _, completion in rows)
    # Only the user's own haystacks can be too long, and training refuses those.
    fits = tokens <= max_tokens
    fill = f"fill {100 * tokens / max_tokens:.1f} %" if fits else f"{tokens - max_tokens:,} too many"
    places = ["none" if each.position < 0 else str(each.position + 1) for each in haystack.needles]
    figures = {
        "items": f"{len(haystack.items):,}",
        "needles": f"{len(rows)}; gold item {', '.join(places)}",
        "tokens": f"{tokens:,} of {max_tokens:,} in the longest row: {fill}",
        "supervised": f"{len(rows[0][1])} tokens in the first row; {100 * supervised / total:.2f} % of all rows",
    }
    grid = _grid(right=False)
    for name, value in figures.items():
        grid.add_row(name, value)
    return grid


def _supervised(renderer: Renderer, completion: Sequence[int], plain: bool) -> Text:
    """Return the text of the supervised ids, with tokens in two alternating shades."""
    texts = [str(renderer.tokenizer.decode(list(completion[:count]))) for count in range(len(completion) + 1)]
    if plain:
        return _marked(texts[-1], [(0, len(texts[-1]))], [""], plain)
    # A token may be part of a character, so decoding one more can shorten the text: hence the running maximum.
    ends = [min(end, len(texts[-1])) for end in accumulate(map(len, texts), max)]
    return _marked(texts[-1], list(pairwise(ends)), SUPERVISED, plain)


def _marked(text: str, spans: Sequence[Span], styles: Sequence[str], plain: bool) -> Text:
    """Return a text whose spans, ascending and disjoint, cycle through the styles or are put between marks."""
    from rich.text import Text

    marked, last = Text(), 0
    for number, (start, end) in enumerate(spans):
        marked.append(visible(text[last:start]))
        inside = visible(text[start:end])
        marked.append(f"«{inside}»" if plain else inside, "" if plain else styles[number % len(styles)])
        last = end
    return marked.append(visible(text[last:]))


def _merged(spans: Iterable[Span]) -> list[Span]:
    """Merge overlapping spans."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _shortened(item: str) -> str:
    return item if len(item) <= NEIGHBOUR else item[:NEIGHBOUR].rpartition(" ")[0] + " …"


def _grid(right: bool = True) -> Table:
    from rich.table import Table

    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(justify="right" if right else "left", style="bold" if right else MARKER, no_wrap=True, min_width=4)
    grid.add_column(overflow="fold")
    return grid
