"""A supervised child process that computes in place of this one."""
