"""What a job tells of itself while it works: how phases are called, and how long it still takes.

Enters: words and figures for whoever waits. Does not enter: terminals and files, or how a phase is trained.
"""
