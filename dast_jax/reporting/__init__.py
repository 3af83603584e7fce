"""How a run is shown to people: what `report.py` writes and `tables.py` prints is made here.

Nothing here imports jax, and plots are written as SVG by hand: a report needs no plotting library,
follows the reader's light or dark theme, and is written in well under a second.
"""
