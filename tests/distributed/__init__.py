"""Models of Dask arrays."""
