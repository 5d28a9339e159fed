from __future__ import annotations

import subprocess
import sys

import needlework


def test_the_public_names_are_these_and_are_completed() -> None:
    assert needlework.__all__ == [
        "Haystack", "Needle", "Prediction", "Recipe", "Terminal", "UserError", "compare", "evaluate", "finetune",
        "gate", "generate", "load_recipe", "read", "run", "write", "write_comparison", "write_report",
    ]  # fmt: skip
    assert all(hasattr(needlework, name) for name in needlework.__all__)
    assert set(needlework.__all__) <= set(dir(needlework))
    assert not hasattr(needlework, "nothing")


def test_importing_it_loads_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "altair", "scipy", "pydantic", "numpy")
    code = f"import needlework, needlework.cli, sys; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
