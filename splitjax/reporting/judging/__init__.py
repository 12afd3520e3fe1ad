"""What the verdict stands on: models against each other, where to split, what to do next.

Enters: arithmetic over records of a run, and the sentences that say one thing each. Does not enter: what sets them
beside each other (`reporting.verdict`), and layout.
"""
