"""apptap_build.py - builds the wheel (PEP 517) with the standard library alone, so without a network

The wheel carries the library and the program, built from the tree around it by the tree's own build
(Meson, a C compiler, jansson). APPTAP_BUILD names a finished build folder instead; APPTAP_PURE=1
makes a wheel of Python alone, for where libapptap is installed. The agents for other machines come
along when APPTAP_AGENTS names their folder.
"""
import base64
import hashlib
import os
import re
import subprocess
import sys
import sysconfig
import zipfile

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TREE = os.path.dirname(HERE)
PURE = os.environ.get("APPTAP_PURE") == "1"
# Of the system everywhere: never carried along.
SYSTEM = ("linux-vdso", "ld-linux", "libc.so", "libm.so", "libpthread", "libdl", "librt", "libgcc_s")
METADATA = """Metadata-Version: 2.1
Name: apptap
Version: {version}
Summary: Capture the network traffic of one application, and nothing of any other
License: MIT
Requires-Python: >=3.8
Classifier: Operating System :: POSIX :: Linux
Classifier: Programming Language :: Python :: 3
Classifier: Topic :: System :: Networking :: Monitoring
Classifier: Typing :: Typed
Description-Content-Type: text/markdown

{readme}"""
ENTRY_POINTS = "[console_scripts]\napptap = apptap.cli:main\n"


def read(*path):
    with open(os.path.join(HERE, *path), encoding="utf-8") as f:
        return f.read()


def version():
    return re.search(r'__version__ = "(.+)"', read("apptap", "about.py"))[1]


def tag():
    if PURE:
        return "py3-none-any"
    platform = re.sub("[-.]", "_", sysconfig.get_platform())
    if platform == "linux_x86_64" and sys.maxsize < 2**32:
        platform = "linux_i686"
    return f"py3-none-{platform}"  # of any Python 3, but of this machine


def native_build():
    """The build folder that holds the library and the program."""
    given = os.environ.get("APPTAP_BUILD")
    if given:
        return given
    if not os.path.exists(os.path.join(TREE, "meson.build")):
        raise SystemExit("apptap: the C sources are not beside this folder; set APPTAP_BUILD to a "
                         "build folder, or APPTAP_PURE=1 to use an installed libapptap")
    folder = os.path.join(HERE, "build", "native")
    # An old-style rpath: it also holds for what the carried libraries need themselves.
    flags = "-Wl,--disable-new-dtags,-rpath,$ORIGIN:$ORIGIN/../lib"
    # Meson is a Python program, and has no part in what pip keeps its builds apart with.
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    env["LDFLAGS"] = f"{env.get('LDFLAGS', '')} {flags}".strip()
    if not os.path.exists(os.path.join(folder, "build.ninja")):
        subprocess.run(["meson", "setup", folder, TREE, "-Dbuildtype=release", "-Dtests=disabled"],
                       check=True, env=env)
    subprocess.run(["ninja", "-C", folder, "apptap", "libapptap.so.0.1.0"], check=True, env=env)
    return folder


def needed(path):
    """The libraries that @path needs and that not every system has."""
    lines = subprocess.run(["ldd", path], check=True, capture_output=True, text=True).stdout
    found = [line.split("=>")[1].split()[0] for line in lines.splitlines() if "=> /" in line]
    return [f for f in found if not os.path.basename(f).startswith(SYSTEM)]


def native_files():
    """Name in the package, and file, of all that is not Python."""
    if PURE:
        return
    build = native_build()
    library, program = os.path.join(build, "libapptap.so.0"), os.path.join(build, "apptap")
    yield "lib/libapptap.so.0", library
    yield "bin/apptap", program
    for path in sorted({*needed(library), *needed(program)}):
        yield f"lib/{os.path.basename(path)}", path
    agents = os.environ.get("APPTAP_AGENTS")
    for name in sorted(os.listdir(agents)) if agents else ():
        if name.startswith("apptap-") and os.path.isfile(os.path.join(agents, name)):
            yield f"agents/{name}", os.path.join(agents, name)


def python_files():
    for folder in ("apptap", "apptap/executors"):
        for name in sorted(os.listdir(os.path.join(HERE, folder))):
            if name.endswith(".py") or name == "py.typed":
                yield f"{folder}/{name}", os.path.join(HERE, folder, name)


def info_files():
    root = "true" if PURE else "false"
    return {
        "METADATA": METADATA.format(version=version(), readme=read("README.md")),
        "WHEEL": f"Wheel-Version: 1.0\nGenerator: apptap_build\nRoot-Is-Purelib: {root}\nTag: {tag()}\n",
        "entry_points.txt": ENTRY_POINTS,
    }


class Wheel:
    """A wheel that is being written."""

    def __init__(self, folder):
        self.info = f"apptap-{version()}.dist-info"
        self.name = f"apptap-{version()}-{tag()}.whl"
        self.zip = zipfile.ZipFile(os.path.join(folder, self.name), "w", zipfile.ZIP_DEFLATED)
        self.record = ""

    def add(self, name, content, mode=0o644):
        entry = zipfile.ZipInfo(name)  # of 1980: the same tree, the same wheel
        entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, (0o100000 | mode) << 16
        self.zip.writestr(entry, content)
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
        self.record += f"{name},sha256={digest},{len(content)}\n"

    def add_file(self, name, path):
        with open(path, "rb") as f:
            self.add(name, f.read(), 0o755 if os.access(path, os.X_OK) else 0o644)

    def close(self):
        for name, text in info_files().items():
            self.add(f"{self.info}/{name}", text.encode())
        self.zip.writestr(f"{self.info}/RECORD", f"{self.record}{self.info}/RECORD,,\n")
        self.zip.close()
        return self.name


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    """Asked for first: else all would be built twice."""
    folder = f"apptap-{version()}.dist-info"
    os.makedirs(os.path.join(metadata_directory, folder))
    for name, text in info_files().items():
        with open(os.path.join(metadata_directory, folder, name), "w", encoding="utf-8") as f:
            f.write(text)
    return folder


prepare_metadata_for_build_editable = prepare_metadata_for_build_wheel


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    wheel = Wheel(wheel_directory)
    for name, path in python_files():
        wheel.add_file(name, path)
    for name, path in native_files():
        wheel.add_file(f"apptap/{name}", path)
    return wheel.close()


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """The Python of this folder as it is; the library comes from $APPTAP_LIBRARY or the system."""
    wheel = Wheel(wheel_directory)
    wheel.add("apptap.pth", f"{HERE}\n".encode())
    return wheel.close()


def build_sdist(sdist_directory, config_settings=None):
    raise SystemExit("apptap: the sources are the whole tree, not this folder; make a wheel")
