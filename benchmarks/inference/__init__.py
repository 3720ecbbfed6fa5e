"""skvae.inference against exact Hessians and long runs of NUTS."""

from benchmarks.inference import uncertainty

SECTIONS = (uncertainty.MESH_SECTION, uncertainty.NUTS_SECTION)
