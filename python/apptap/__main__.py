"""python -m apptap: becomes the program, so that signals and the terminal are its own"""

import os
import sys

from apptap.cli import find

program = find()
os.execv(program, ["apptap", *sys.argv[1:]])
