"""A fitted law and a budget → what to do: where to split, how large a model, which small runs to make, and whether a
pick held when it was measured.

Enters: budgets, accountings, decisions and the notes that go with them. Does not enter: how a law is fitted. Laws are
asked for losses and draws, never solved.
"""
