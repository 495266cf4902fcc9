"""Models that take no time, laid over a copy of the library: what is computed when is tested, not what comes out.

Each stands in for the module of its name and computes digests of all that the real one would see, so that a stage that
ought to have run again and did not leaves other bytes behind than a fresh build does.
"""
