"""The settings of Sphinx; build with ``python -m sphinx -M html doc doc/_build -W``.

Neither the build nor a browser needs a network; ``_ext/standalone.py`` checks it.
"""

import sys
from pathlib import Path

import skvae

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "skvae"
author = "The skvae developers"
copyright = author  # noqa: A001 - Sphinx's name; no year, so that pages do not change with it
release = version = skvae.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "matplotlib.sphinxext.plot_directive",  # pictures of the guide, by lines that tests run too
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "sphinx_design",
    "sphinx_copybutton",
    "sphinx-mathjax-offline",  # MathJax from a Python package: formulas need no network
    "myst_parser",  # for CHANGELOG.md and CONTRIBUTING.md, which are included
    # modules of doc/_ext
    "elsewhere",
    "gallery",
    "side_by_side",
    "standalone",
]
exclude_patterns = ["_build", "auto_examples/*.ipynb"]
templates_path = ["_templates"]

# A reference that does not resolve is an error. Not by intersphinx, which fetches inventories:
# `elsewhere` has the addresses of other projects' pages, and looks for the name in the installed
# package.
nitpicky = True

# Docstrings are validated by tests/test_docstrings.py.
autosummary_generate = True
autodoc_default_options = {"member-order": "groupwise"}
numpydoc_show_class_members = False  # the template of a class page has a table of its methods
toc_object_entries_show_parents = "hide"
add_module_names = False

plot_formats = [("png", 110)]
plot_html_show_formats = False
plot_html_show_source_link = False
plot_include_source = True
plot_rcparams = {"figure.figsize": (7.0, 3.5), "figure.constrained_layout.use": True}

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"[\\/]plot_",
    "copyfile_regex": r"index\.rst",
    "minigallery_sort_order": "gallery.as_listed",
    "reset_modules": ("matplotlib", "gallery.reset_warnings"),
    "reset_modules_order": "both",
    "parallel": 2,  # examples at a time
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("skvae",),
    "exclude_implicit_doc": {r"skvae\.datasets\..*"},  # no links to examples from the data
    "thumbnail_size": (560, 392),
    "remove_config_comments": True,  # such as the number of the figure for the thumbnail
    "download_all_examples": False,
    "show_signature": False,
    "write_computation_times": False,  # they differ from build to build
    "min_reported_time": float("inf"),
}

html_theme = "pydata_sphinx_theme"
html_title = f"skvae {release}"
html_static_path = ["_static"]
html_css_files = ["skvae.css"]
html_js_files = ["pages.js"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "skvae"},
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
}
# Pages without neighbours, and wide tables.
html_sidebars = {
    page: [] for page in ("index", "tutorial", "faq", "side_by_side", "auto_examples/*")
}
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

# Links to other sites need a network and are checked by hand, with
# `python -m sphinx -b linkcheck doc doc/_build/linkcheck`; every build checks those between pages.
linkcheck_timeout = 20
