"""The configurations of the paper's own code, run as they are."""

from needlework.official.splits import generate, samples

__all__ = ["generate", "samples"]
