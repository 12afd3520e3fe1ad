"""Floor 7: every model of a run on held-out text and tasks.

Enters: what is measured of finished models, and the choice of a router by it. Does not enter: how a figure is shown,
and how models are served to others.
"""
