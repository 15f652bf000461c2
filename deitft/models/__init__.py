"""What is the function?

In: a name and weights. Out: a ``Classifier`` whose forward returns ``Heads``, always. The door to timm.
"""
