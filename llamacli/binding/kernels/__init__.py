"""The kernels by the names that users give them. This folder holds our own, in C++."""

from llamacli.binding.enums import llamacli_kernels

KERNELS = {"own": llamacli_kernels.LLAMACLI_KERNELS_BEST, "upstream": llamacli_kernels.LLAMACLI_KERNELS_UPSTREAM}
"""The choices for `llamacli_choose_kernels`."""
