"""Pictures of a law, a plan and a profile, from plain values.

Enters: arrays, numbers and words, and Matplotlib, which is imported when something is drawn. Does not enter: a law, a
plan, a table or anything that knows how the values came about. Whoever has them lays them out here.
"""
