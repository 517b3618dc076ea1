"""about.py - who and which version"""

__version__ = "0.1.0"
__author__ = "The AppTap authors"
__license__ = "MIT"
