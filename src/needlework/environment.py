"""What a run was made with, so that it can be reproduced."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
import subprocess
import sys
from pathlib import Path

from needlework.visible import visible

PACKAGES = ("needlework", "torch", "transformers", "accelerate", "peft", "tokenizers", "numpy")


def describe() -> dict[str, str]:
    """Return versions, machine, git state and command, as a flat mapping of text."""
    facts = {"python": platform.python_version(), "platform": platform.platform(), "cpu": _cpu()}
    facts |= {name: importlib.metadata.version(name) for name in PACKAGES}
    # Installed from an index it may lie in a checkout of something else, which does not hold this file.
    if _git("ls-files", "--error-unmatch", Path(__file__).name) and (commit := _git("rev-parse", "HEAD")):
        facts["git commit"] = commit + (" with changes" if _git("status", "--porcelain") else "")
    # The program's path says where it lies on this machine, which reproduces nothing.
    program = Path(sys.argv[0])
    name = ["python", "-m", program.parent.name] if program.name == "__main__.py" else [program.name]
    return facts | {"command": visible(shlex.join([*name, *sys.argv[1:]]))}


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def _git(*arguments: str) -> str:
    folder = Path(__file__).parent
    try:
        result = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return result.stdout.strip()
