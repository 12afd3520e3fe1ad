"""A table → a fitted law with its uncertainty: families, solver, selection, draws, and the file that a law lives in.

Enters: what is true of losses whatever the question. Does not enter: a budget, an accounting, a number of experts, or
where to split.
"""
