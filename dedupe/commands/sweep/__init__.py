"""`sweep`: what a corpus comes to at each of several thresholds.

    thresholds  which they are
    task        the components of a partition, decided once for each threshold
    result      `Sweep`: what was found, as an object, as JSON, as tables
    plot        the same as a picture

Everything before is a run at the lowest threshold: see `dedupe.sweeping`.
"""
