"""Floor 8: what a person reads: verdict, tables, plots, page, cards, and the state of a run.

Enters: words, layout and templates over values that are there already. Does not enter: anything that measures, trains
or decides; a figure that is not in a record of the run is none of this room's.
"""

from .comparing import Comparison, compare
from .model_table import closing_table
from .run_status import status

__all__ = ["Comparison", "closing_table", "compare", "status"]
