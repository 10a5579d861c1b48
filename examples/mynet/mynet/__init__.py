"""An example: a method for mrhp-bench in a package of its own."""
