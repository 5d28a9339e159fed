"""Finetuning on a host's machines: one job for one run, whatever fails on the way."""
