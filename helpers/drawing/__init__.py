"""Figures: a table and an axis in, the axis out.

`charts` draws heatmaps, curves and strips, `style` sets the look. Change a figure here; numbers come from elsewhere.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "charts": [
            "best_sources",
            "changes",
            "colours",
            "curves",
            "dots",
            "estimates",
            "forest",
            "frontier",
            "heatmap",
            "key_above",
            "legend",
            "level",
            "map_points",
            "mark_points",
            "move_points",
            "panels",
            "ranks",
            "short_sites",
            "strips",
            "style",
            "tested",
            "tree",
        ],
    },
)
