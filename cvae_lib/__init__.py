"""Variational, conditional and β-weighted autoencoders in torch: the library behind the notebooks."""
