"""Kinds of networks, one file each; `registry` lists them."""
