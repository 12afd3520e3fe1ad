"""Kernels of our own, for what XLA cannot do in one pass over memory.

Enters: functions of arrays, behind an interface that has a formula too. Does not enter: a module, a parameter, a
config.
"""
