"""deltadata: prompt pools in, delta-paired preference datasets out (the Delta Learning Hypothesis, arXiv 2507.06187)."""

__version__ = "0.1.0"
