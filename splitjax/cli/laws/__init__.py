"""Laws at the command line: the options of fit, plan and predict, and what a person reads of them.

Enters: options that several commands share, and text of plain values. Does not enter: a command of its own.
"""
