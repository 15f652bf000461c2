"""What is handed over?

In: weights and what they need to be used. Out: a folder in timm's hub layout that a person can open.
"""
