"""Datasets of synthetic haystacks: token budgets, the sample function, exports."""
