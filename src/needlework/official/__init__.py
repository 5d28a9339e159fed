"""Running the configurations of the paper's own code unchanged."""

from needlework.official.splits import generate, samples

__all__ = ["generate", "samples"]
