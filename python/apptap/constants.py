"""constants.py - the defaults that callers may name"""

DEFAULT_NFLOG_GROUP = 30
