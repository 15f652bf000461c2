"""What do people look at?

In: plain arrays and records. Out: tables, plots, one offline page. No torch.
"""
