"""Text of models and users, made safe to show on terminals and pages."""

from __future__ import annotations

import unicodedata

_BLANKS = str.maketrans("", "", "\n\t")


def visible(text: str) -> str:
    """Return text with each control character replaced by a symbol that can be seen.

    Outputs of a model are untrusted: a bidirectional override would reorder what the reader sees, and a lone
    surrogate, which JSON can spell, could not be written as UTF-8 at all.
    """
    # Most text has nothing to replace, and is recognised many times faster than its characters.
    return text if text.translate(_BLANKS).isprintable() else "".join(map(_symbol, text))


def _symbol(char: str) -> str:
    # Joiners shape emoji and whole scripts, so they stay.
    if char in "\n\t\u200c\u200d" or unicodedata.category(char) not in ("Cc", "Cf", "Cs"):
        return char
    code = ord(char)
    return chr(0x2400 + code) if code < 32 else "\u2421" if code == 127 else f"[U+{code:04X}]"
