"""Pictures of the page: SVG in its colours, with values where one points and as CSV.

Enters: drawings of plain values. Does not enter: what is measured, and the page around them.
"""
