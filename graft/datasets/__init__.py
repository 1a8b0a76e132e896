"""Kinds of data sets, one file each; `registry` lists them."""
