"""Studies: parts of the package measured in process, against a truth, and on paper."""
