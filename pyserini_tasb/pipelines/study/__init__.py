"""Studies: a grid of training runs, each measured on the same tasks, as one table and one picture.

A cell of the grid is a training configuration with one seed. What is measured of it, or of any other model beside the
grid, is a row.
"""
