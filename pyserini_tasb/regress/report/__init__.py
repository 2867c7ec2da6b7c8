"""Reports of regressions and studies: one self-contained HTML page, Markdown, and JUnit XML for CI.

They are made of what lies in `results/` and in the folders of studies; nothing is run for them.
"""
