"""Models of display panels: from the levels of their pins to what people see.

They are written from the datasheets and share only the font, by which text is read back from dots,
with the drivers in :mod:`gptloom.hdl.display`.
"""

from .base import Lines, PanelError, PanelModel, Shown, TimingError, watch
from .hd44780 import HD44780Model
from .ssd1306 import SSD1306Model
from .ssd1331 import SSD1331Model
from .st7789 import ST7789Model

__all__ = [
    "HD44780Model",
    "Lines",
    "PanelError",
    "PanelModel",
    "SSD1306Model",
    "SSD1331Model",
    "ST7789Model",
    "Shown",
    "TimingError",
    "watch",
]
