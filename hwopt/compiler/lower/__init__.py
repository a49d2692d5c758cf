"""Lowering: a graph becomes Relax, one converter an operator.

``lowering`` walks the graph; ``table`` lists the operators, whose converters stand in the modules
that it names; ``decompose`` puts all others together from these. A converter emits what torch
computes, with every argument, or refuses by name. Tensors stand in the order of axes that suits
what made them (``call``): images behind a convolution are channels last, and move back only where
somebody needs torch's order.
"""

from hwopt.compiler.lower.lowering import CHECKS, lower

__all__ = ["CHECKS", "lower"]
