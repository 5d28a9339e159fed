from __future__ import annotations

from needlework.visible import visible


def test_control_characters_become_visible() -> None:
    assert visible("a\x00b\x1b[31m\x7f\u202e\ud800\x85\n\t") == "a␀b␛[31m␡[U+202E][U+D800][U+0085]\n\t"
    assert visible("naïve 漢字 👩\u200d🚀") == "naïve 漢字 👩\u200d🚀"
