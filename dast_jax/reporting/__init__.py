"""How a run is presented: the HTML report, and the tables that commands print.

Nothing here imports jax, and plots are written as SVG by hand: a report needs no plotting library,
follows the reader's light or dark theme, and is written in well under a second.
"""
