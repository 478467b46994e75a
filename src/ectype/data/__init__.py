"""Data in: sources, the Schema that stores them, known-truth targets, splits.

============ =================================================================
module       what it holds
============ =================================================================
`blocks`     one column, and the way it is stored
`dense`      one image or one signal, and the way it is stored
`schema`     what the user's data are; the way in and back
`sources`    :func:`load`: a name, a file, a folder → a :class:`Dataset`
`named`      the data sets that have a name
`files`      a path → rows, by `tables`, `arrays`, `images` and `waves`
`entries`    the files of a folder or a zip, and their labels
`fetch`      downloads with a checksum
`toy`        targets with an exact density
`split`      training, holdout and test rows
`describe`   what was understood of the data, column by column
============ =================================================================
"""
