"""How a run is started and watched: Hydra entry point, preflight, verl plug-ins, CPU platform."""
