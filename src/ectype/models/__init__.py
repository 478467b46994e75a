"""The families, one file each. Their names are in :mod:`ectype.registry`."""
