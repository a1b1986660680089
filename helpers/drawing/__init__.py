"""Figures: a table and an axis in, the axis out.

`charts` draws heatmaps, curves, strips and estimates, `maps` points in a plane; `style` sets the look of all. Change a
figure here; numbers come from elsewhere.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "charts": [
            "best_sources",
            "colours",
            "curves",
            "dots",
            "estimates",
            "frontier",
            "heatmap",
            "legend",
            "panels",
            "ranks",
            "short_sites",
            "strips",
            "style",
            "tree",
        ],
        "maps": ["map_points", "mark_points", "move_points"],
    },
)
