"""What a run needs and takes on devices that need not be there: compiled from shapes, or estimated."""

from dast_jax.planning.model_shapes import model_shapes
from dast_jax.planning.plan import PlanOptions, make_plan
from dast_jax.planning.targets import find_target

__all__ = ["PlanOptions", "find_target", "make_plan", "model_shapes"]
