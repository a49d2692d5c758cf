"""An example of a package that brings a pass, an optimizer and a sampler."""
