"""Which cells a sweep has: named by axes, picked by a law, or chosen round by round; and the files of that.

Enters: a sweep as a value, and its cells in whole steps. Does not enter: how they are chosen, trained or fitted.
"""
