"""Search: which settings to try next, as a pure function of what was tried. One file an algorithm.

An algorithm reads results in the order of the trials and a fixed number behind (the lag), so its
suggestions do not depend on which trial ended first; everything else follows from the seed and the
number of the trial.
"""
