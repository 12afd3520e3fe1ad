"""Processes that we start, and the end of our own.

Enters: the command of a child, and how a process hears that it must end. Does not enter: what any of them does.
"""
