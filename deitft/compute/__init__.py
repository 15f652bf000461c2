"""What does it run on?

In: what was asked (``--device``, ``--threads``). Out: device, precision, threads, memory. Later: process groups.
"""
