"""R(theta_tgt; theta_src), one file each; `registry` lists them."""
