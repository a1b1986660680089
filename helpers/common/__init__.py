"""What all rooms share: tables on disk, where runs live, intervals, look-ups.

Results are long pandas tables, keys first, value last, written whole or not at all (`store`); a run's folder is
found and stamped by `results`; every interval comes from `stats`. Change an interval there.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "results": ["current_run", "folder", "latest", "inline", "read_summary", "stamp", "write_figure"],
        "stats": ["by_group", "contrasts", "mean_interval", "verdict"],
        "store": ["cached", "write_table"],
    },
)
