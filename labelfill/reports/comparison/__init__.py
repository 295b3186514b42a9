"""Ways of filling, and final networks trained on them, side by side: one table, one split, one truth.

`comparison` fills by columns alone and scores filled tables; `trained_ways` and `journey` run labelfill's own
`stages`, every way in a run directory of its own.
"""
