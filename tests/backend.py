"""How the suite compiles, in its own process and in those that it starts."""

import importlib.metadata

# Nearly all of its time is compiling, which is twice as fast without the backend's optimisations.
ONE_DEVICE = "--xla_backend_optimization_level=0"
# Twice as fast again with the older code for fused operations. Later versions have lost it, and
# none starts with a flag that it does not know.
if importlib.metadata.version("jaxlib").startswith("0.10."):
    ONE_DEVICE += " --xla_cpu_use_fusion_emitters=false"
EIGHT_DEVICES = f"{ONE_DEVICE} --xla_force_host_platform_device_count=8"
