"""Scenarios: networks with faults or under attack, each with requirements for every seed.

`groat simulate --scenario NAME` runs one; `catalogue.py` lists them all with their two sizes.
"""
