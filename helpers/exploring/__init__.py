"""Turning one model's settings by hand, in JupyterLab.

An `Explorer` answers what is asked of a setting, `explore` shows its answers as a dashboard, `strength_slider` is one
slider over a finished map. A control is one widget in `dashboard`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "explorer": ["Explorer"],
        "dashboard": ["explore"],
        "widgets": ["strength_slider"],
    },
)
