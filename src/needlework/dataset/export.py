"""Writing a dataset to files. They are finished when their manifest is there, which is written last."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from needlework.dataset.synthetic import SyntheticDataset
from needlework.errors import DataError
from needlework.storage import write_json

MANIFEST = "manifest.json"


def write_messages(
    data: SyntheticDataset,
    folder: Path,
    settings: dict[str, Any],
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write `messages.jsonl`, one row of chat messages for each needle, and `manifest.json`.

    Args:
        data: The dataset.
        folder: Where to write; a finished export of the same settings there is left as it is.
        settings: What the dataset was made from, for the manifest.
        report: Called with the number of haystacks written and of all.

    Returns:
        The path of the rows.

    Raises:
        DataError: If the folder holds an export of other settings.
    """
    target, manifest = folder / "messages.jsonl", folder / MANIFEST
    if manifest.exists():
        found = json.loads(manifest.read_text(encoding="utf-8"))["settings"]
        if found != settings:
            changed = sorted(key for key in settings if found.get(key) != settings[key])
            raise DataError(
                f"{folder} holds a dataset of other settings ({', '.join(changed)}). Give another --output."
            )
        return target
    folder.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(target.name + ".tmp")
    digest, rows = hashlib.sha256(), 0
    with temporary.open("wb") as file:
        for index in range(len(data)):
            haystack = data[index]
            for needle in haystack.needles:
                messages = [{"role": "user", "content": haystack.message(needle)}]
                if data.renderer.system is not None:
                    messages.insert(0, {"role": "system", "content": data.renderer.system})
                messages.append({"role": "assistant", "content": needle.answer})
                line = json.dumps({"messages": messages}, ensure_ascii=False).encode() + b"\n"
                digest.update(line)
                file.write(line)
                rows += 1
            report(index + 1, len(data))
    temporary.replace(target)
    files = {target.name: {"rows": rows, "sha256": digest.hexdigest()}}
    write_json(manifest, {"settings": settings, "haystacks": len(data), "files": files})
    return target
