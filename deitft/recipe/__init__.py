"""What does the user want, and what does that mean here?

In: YAML, ``--set`` and facts about data and machine. Out: a frozen ``Plan`` with nothing "auto" left. No torch.
"""
