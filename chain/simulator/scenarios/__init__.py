"""Networks in bad weather and under attack, each with what must hold whatever the seed.

`groat simulate --scenario NAME` runs one; `catalogue.py` lists them all with their two sizes.
"""
