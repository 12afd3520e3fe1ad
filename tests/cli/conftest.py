"""What tests of the command line share with those of the stages."""

from tests.stages.conftest import whole_run

__all__ = ["whole_run"]
