"""A written run -> whether readers may see it: integrity checks and quality gates."""
