"""pixstored: publishes every new photo and video of your folders to the PixLab STORE endpoint, once."""

__version__ = "0.1.0"
