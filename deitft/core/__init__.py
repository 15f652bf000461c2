"""How is something written down so that it can be trusted?

In: bytes, numbers, names. Out: files that survive a kill, keys that give chance without state, records with a
version. No torch here.
"""
