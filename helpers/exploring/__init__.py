"""One model under one hand, in JupyterLab.

`explore` shows the dashboard of an `Explorer`. A control is one widget in `dashboard`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "explorer": ["Explorer", "Setting"],
        "dashboard": ["explore"],
        "widgets": ["strength_slider"],
    },
)
