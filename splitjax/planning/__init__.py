"""Floor 6: what a run costs before it is paid, on hardware that may not be here, and the split that it will have.

Enters: estimates, compilation for other machines, published and measured speeds, prices, and the plan of the main run.
Does not enter: anything that trains, or that needs a run to be finished.
"""

from .compiled_step import compile_step
from .pricing import price

__all__ = ["compile_step", "price"]
