"""Ways of transferring, one file each; `registry` lists them."""
