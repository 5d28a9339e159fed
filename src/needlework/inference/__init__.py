"""Backends that answer prompts, and the loop that asks, scores and records."""
