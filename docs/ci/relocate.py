"""Gather a program in /minibuild: its interpreter, their loader and libraries, git, certificates.

    python3 relocate.py WHEELS OUT

In OUT three folders are made, each to be copied to the top of an image: `own-root`, all of the
program; `marker`, which lets it use "/" for steps; `debug`, a shell. A program that is moved so
finds its libraries by the path that is written into it (patchelf), whatever is in /lib, /usr and
/etc/ld.so.cache of the moment.
"""

import compileall
import os
import py_compile
import shutil
import subprocess
import sys
import sysconfig

HOME = "/minibuild"
UNUSED = "test idlelib tkinter turtledemo lib2to3 ensurepip pydoc_data __pycache__".split()
SCRIPT = f"""#!{HOME}/bin/python3 -I
import sys

sys.path.insert(0, "{HOME}/site")
from minibuild.cli.start import start

sys.exit(start())
"""


class Tree:
    """The folder in the making."""

    def __init__(self, out):
        self.home = f"{out}{HOME}"
        for folder in ("bin", "lib", "etc", "libexec/git-core", "tmp"):
            os.makedirs(f"{self.home}/{folder}")
        os.chmod(f"{self.home}/tmp", 0o1777)
        self.loader = ""

    def program(self, source, target, *names):
        """A program with its libraries, under more names."""
        path = f"{self.home}/{target}"
        shutil.copyfile(os.path.realpath(source), path)
        os.chmod(path, 0o755)
        self.libraries(path)
        call("patchelf", "--set-interpreter", f"{HOME}/lib/{self.loader}", path)
        call("patchelf", "--force-rpath", "--set-rpath", f"{HOME}/lib", path)
        for name in names:
            os.symlink(os.path.basename(target), f"{os.path.dirname(path)}/{name}")

    def libraries(self, path):
        """What the loader finds for a file."""
        listed = subprocess.run(["ldd", path], capture_output=True, text=True).stdout
        for line in listed.splitlines():
            words = line.split()
            source = words[2] if "=>" in words else words[0]
            if not source.startswith("/"):
                continue
            name = os.path.basename(words[0])
            if name.startswith("ld-"):
                self.loader = name
            self.library(source, name)

    def library(self, source, name):
        """One library, under the name by which it is looked up."""
        target = f"{self.home}/lib/{name}"
        if not os.path.exists(target):
            shutil.copyfile(os.path.realpath(source), target)
            os.chmod(target, 0o755)
            if not name.startswith("ld-"):
                call("patchelf", "--force-rpath", "--set-rpath", f"{HOME}/lib", target)

    def python(self, wheels):
        """The interpreter with its modules, and the packages."""
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.program(sys.executable, "bin/python3", version)
        stdlib = f"{self.home}/lib/{version}"
        ignore = shutil.ignore_patterns(*UNUSED, "config-*", "dist-packages", "site-packages")
        shutil.copytree(sysconfig.get_path("stdlib"), stdlib, ignore=ignore, symlinks=False)
        site = f"{self.home}/site"
        ignore = shutil.ignore_patterns("__pycache__", "bin", "_cffi*.so")
        shutil.copytree(wheels, site, ignore=ignore)
        self.write_path("pyseccomp.py", "seccomp", "libseccomp.so.2")
        for folder in (stdlib, site):
            for where, _, names in os.walk(folder):
                for name in names:
                    if ".so" in name:
                        self.libraries(f"{where}/{name}")
            hashed = py_compile.PycInvalidationMode.UNCHECKED_HASH
            inside = folder.removeprefix(self.home)
            compileall.compile_dir(folder, quiet=1, ddir=HOME + inside, invalidation_mode=hashed)
        with open(f"{self.home}/bin/minibuild", "w") as file:
            file.write(SCRIPT)
        os.chmod(f"{self.home}/bin/minibuild", 0o755)

    def by_name(self, *names):
        """Libraries that are looked up when the program runs."""
        cache = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True).stdout
        for line in cache.splitlines():
            words = line.split()
            if words and words[0] in names and os.path.exists(words[-1]):
                self.library(words[-1], words[0])
                self.libraries(words[-1])

    def write_path(self, module, name, library):
        """Write the path of a library into a module that asks ldconfig for it: there is none."""
        path = f"{self.home}/site/{module}"
        with open(path) as file:
            text = file.read()
        call = f'ctypes.util.find_library("{name}")'
        if call not in text:
            sys.exit(f"{module} looks for lib{name} in another way than expected")
        with open(path, "w") as file:
            file.write(text.replace(call, repr(f"{HOME}/lib/{library}")))


def call(*argv):
    """Run a program that has to succeed."""
    subprocess.run(argv, check=True)


def main(wheels, out):
    """Make the three folders."""
    top = f"{out}/own-root"
    tree = Tree(top)
    tree.python(wheels)
    tree.by_name("libseccomp.so.2", "libgcc_s.so.1")
    if git := shutil.which("git"):
        tree.program(git, "bin/git")
        core = subprocess.run([git, "--exec-path"], capture_output=True, text=True).stdout.strip()
        remote = f"{core}/git-remote-http"
        if os.path.exists(remote):
            tree.program(remote, "libexec/git-core/git-remote-http", "git-remote-https")
    for name in ("ssh", "ssh-agent", "ssh-add"):
        if found := shutil.which(name):
            tree.program(found, f"bin/{name}")
    bundle = "/etc/ssl/certs/ca-certificates.crt"
    if os.path.exists(bundle):
        shutil.copyfile(bundle, f"{tree.home}/etc/ca-certificates.crt")
    os.makedirs(f"{top}/etc")
    os.makedirs(f"{top}/root", mode=0o700)
    # Runtimes mount below /var/run, and bases of all kinds have it in /run.
    for folder in ("tmp", "run", "var"):
        os.makedirs(f"{top}/{folder}")
    os.symlink("/run", f"{top}/var/run")
    os.chmod(f"{top}/tmp", 0o1777)
    accounts = {"passwd": "root:x:0:0:root:/root:/busybox/sh\n", "group": "root:x:0:\n"}
    for name, text in accounts.items():
        with open(f"{top}/etc/{name}", "w") as file:
            file.write(text)
    os.makedirs(f"{out}/marker{HOME}")
    with open(f"{out}/marker{HOME}/own-root", "w") as file:
        file.write("/etc/passwd\n/etc/group\n/var/run\n/busybox/\n")
    os.makedirs(f"{out}/debug/busybox")
    if busybox := shutil.which("busybox"):
        shutil.copyfile(busybox, f"{out}/debug/busybox/busybox")
        os.chmod(f"{out}/debug/busybox/busybox", 0o755)
        names = subprocess.run([busybox, "--list"], capture_output=True, text=True).stdout.split()
        for name in names:
            if name != "busybox":
                os.symlink("busybox", f"{out}/debug/busybox/{name}")


main(*sys.argv[1:])
