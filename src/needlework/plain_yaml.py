"""Plain YAML: values without tags, and no key twice."""

from __future__ import annotations

from typing import Any

import yaml


class Loader(yaml.SafeLoader):
    """Reads plain YAML; a key that occurs twice is an error, where PyYAML would silently drop the first."""


def _mapping(loader: Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
        if key.value in seen:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key.value} occurs twice", key.start_mark)
        seen.add(key.value)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def parse(text: str, loader: type[Loader] = Loader) -> Any:
    """Return what a text of YAML holds.

    Args:
        text: The text.
        loader: What reads it.

    Raises:
        ValueError: If it cannot be read, with the reason in one line.
    """
    try:
        return yaml.load(text, loader)  # a safe loader
    except yaml.MarkedYAMLError as error:
        parts = [part for part in (error.context, error.problem) if part]
        mark = error.problem_mark or error.context_mark
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise ValueError(f"{', '.join(parts)}{place}") from None
    except (yaml.YAMLError, ValueError) as error:
        # PyYAML raises a bare ValueError for an impossible date.
        raise ValueError(" ".join(str(error).split())) from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
