"""What watches a stack while it trains, and what happens then: signals, hangs, spikes, early stops, going back.

Enters: a rule that says when something is amiss, or enough, and what follows. Does not enter: the step and the loop,
which ask it.
"""
