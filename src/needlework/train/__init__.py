"""Finetuning: K answers on one shared context at about the cost of one."""
