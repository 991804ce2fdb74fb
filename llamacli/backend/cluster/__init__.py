"""A backend of many processes: the workers of a Dask cluster, each with an engine of its own."""
