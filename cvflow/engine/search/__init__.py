"""Search: which settings to try next, as a pure function of what was tried. One file an algorithm.

An algorithm reads results in trial order and a fixed number behind (the lag), so its suggestions do not depend on which
trial ended first; what it needs besides follows from (seed, number of the trial).
"""
