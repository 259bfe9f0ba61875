"""Starts a run on a cluster: Slurm, a running Ray, Kubernetes, SkyPilot, or plain ssh (docs/multi_node.md).

Each launcher is a pure ``render(job, options)`` that returns files and the command that submits them. What then runs on
every node is one supervisor (``node.py``), and on the first node the driver (``drive.py``) that joins Ray and trains.
"""
