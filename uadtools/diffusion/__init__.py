"""The mathematics of diffusion: schedule, forward process, samplers. Nothing here knows of networks or files."""
