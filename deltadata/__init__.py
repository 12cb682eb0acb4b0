"""deltadata: prompt pools in, delta-paired preference data out (Delta Learning Hypothesis, arXiv 2507.06187)."""

__version__ = "0.1.0"
