"""setup.py - a wheel that carries the library and the program, built here from the tree around it

The tree's own build makes them (Meson, a C compiler, jansson). APPTAP_BUILD names a finished build
folder instead; APPTAP_PURE=1 makes a wheel of Python alone, for where libapptap is installed. The
agents for other machines come along when APPTAP_AGENTS names their folder.
"""
import os
import shutil
import subprocess

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py
from wheel.bdist_wheel import bdist_wheel

HERE = os.path.dirname(os.path.abspath(__file__))
TREE = os.path.dirname(HERE)
PURE = os.environ.get("APPTAP_PURE") == "1"
# Of the system everywhere: never carried along.
SYSTEM = ("linux-vdso", "ld-linux", "libc.so", "libm.so", "libpthread", "libdl", "librt", "libgcc_s")


def native_build(folder):
    """The build folder that holds the library and the program."""
    given = os.environ.get("APPTAP_BUILD")
    if given:
        return given
    if not os.path.exists(os.path.join(TREE, "meson.build")):
        raise SystemExit("apptap: the C sources are not beside this folder; set APPTAP_BUILD to a "
                         "build folder, or APPTAP_PURE=1 to use an installed libapptap")
    # An old-style rpath: it also holds for what the carried libraries need themselves.
    flags = "-Wl,--disable-new-dtags,-rpath,$ORIGIN:$ORIGIN/../lib"
    env = {**os.environ, "LDFLAGS": f"{os.environ.get('LDFLAGS', '')} {flags}".strip()}
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


class BuildWithNative(build_py):
    def run(self):
        super().run()
        if PURE:
            return
        build = native_build(os.path.abspath(os.path.join(self.build_lib, "..", "native")))
        package = os.path.join(self.build_lib, "apptap")
        for folder in ("lib", "bin"):
            shutil.rmtree(os.path.join(package, folder), ignore_errors=True)
            os.makedirs(os.path.join(package, folder))
        library = os.path.join(build, "libapptap.so.0")
        program = os.path.join(build, "apptap")
        shutil.copy(library, os.path.join(package, "lib", "libapptap.so.0"))
        shutil.copy(program, os.path.join(package, "bin", "apptap"))
        for path in {*needed(library), *needed(program)}:
            shutil.copy(path, os.path.join(package, "lib", os.path.basename(path)))
        agents = os.environ.get("APPTAP_AGENTS")
        if agents:
            os.makedirs(os.path.join(package, "agents"), exist_ok=True)
            for name in os.listdir(agents):
                if name.startswith("apptap-") and os.path.isfile(os.path.join(agents, name)):
                    shutil.copy(os.path.join(agents, name), os.path.join(package, "agents", name))


class OfThisMachine(Distribution):
    def has_ext_modules(self):
        return not PURE


class PlatformWheel(bdist_wheel):
    """Of any Python 3, but of this machine."""

    def finalize_options(self):
        super().finalize_options()
        self.root_is_pure = PURE

    def get_tag(self):
        python, abi, platform = super().get_tag()
        return (python, abi, platform) if PURE else ("py3", "none", platform)


setup(distclass=OfThisMachine, cmdclass={"build_py": BuildWithNative, "bdist_wheel": PlatformWheel})
