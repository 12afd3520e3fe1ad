"""Phases of a sweep trained whatever happens to single ones: attempts at each, here or in worker processes.

Enters: who trains which phase when, and what a failure costs the others. Does not enter: how a phase is trained.
"""
