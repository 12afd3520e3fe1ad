"""Observations as rows, and the words in which a user picks and makes columns of them.

Enters: how a table is read, checked, hashed and cut, and the expressions over its columns. Does not enter: a family, a
fit, or what a table is good for.
"""
