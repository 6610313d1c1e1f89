"""Small programs whose every visible effect must be the same from a shell and from a fork."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

Program = tuple[dict[str, str | bytes], list[str], dict[str, str]]
PROGRAMS: dict[str, Program] = {}


def program(name: str, main: str | bytes = "", *arguments: str, argv: str = "", **more: Any) -> None:
    """Add a program: `main` is main.py, `argv` another command line, `files` and `env` what there is more."""
    files: dict[str, str | bytes] = {"main.py": dedent(main) if isinstance(main, str) else main}
    files |= {
        path: dedent(text) if isinstance(text, str) else text for path, text in more.get("files", {}).items()
    }
    line = argv.split() if argv else ["python", "main.py"]
    PROGRAMS[name] = (files, [*line, *arguments], more.get("env", {}))


STATE = """
    import os, sys, signal, warnings, gc, locale, threading
    print(sys.argv, sys.orig_argv, sys.path, sys.executable, sys.flags, sys.warnoptions, sys._xoptions)
    print(sys.dont_write_bytecode, sys.pycache_prefix, sys.getrecursionlimit(), sys.getswitchinterval())
    print(sorted(os.environ.items()), os.getcwd())
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        print(stream, stream.encoding, stream.errors, stream.line_buffering, stream.write_through, stream.newlines)
        print(stream.mode, type(stream.buffer), stream is getattr(sys, f"__{name}__"), stream.fileno())
    print({n: signal.getsignal(n) for n in sorted(signal.valid_signals()) if n not in (32, 33)})
    print(signal.pthread_sigmask(signal.SIG_BLOCK, []), gc.isenabled(), gc.get_threshold(), gc.callbacks)
    print(locale.setlocale(locale.LC_CTYPE), locale.setlocale(locale.LC_NUMERIC), locale.getencoding())
    print(threading.current_thread(), threading.main_thread() is threading.current_thread(), threading.enumerate())
    print([name for name in sys.modules if name.startswith("vitrine")])
    print(sys.gettrace(), sys.getprofile(), sys.excepthook, sys.displayhook, sys.breakpointhook)
    import site, time
    print(site.ENABLE_USER_SITE, site.USER_SITE, site.USER_BASE, time.tzname, os.listdir("/proc/self/fd")[:3])
"""
NAMES = """
    \"\"\"Its documentation.\"\"\"
    import __main__, sys
    shown = {name: value for name, value in vars().items() if name not in ("sys", "__main__", "__loader__")}
    print(list(vars()))
    print(shown)
    print(type(__loader__), getattr(__loader__, "path", None), __main__ is sys.modules["__main__"], __annotations__)
    x: int = 3
    print(__annotations__, vars(__main__) is globals())
"""
STACK = """
    import sys, traceback, inspect, warnings
    def depth():
        frame, count = sys._getframe(), 0
        while frame:
            frame, count = frame.f_back, count + 1
        return count
    print(depth(), len(inspect.stack()), sys._getframe(0).f_back)
    traceback.print_stack()
    warnings.warn("from below", stacklevel=2)
    try:
        sys._getframe(1)
    except ValueError as error:
        print(error)
    print(list(sys._current_frames().values())[0].f_back)
"""
program("state", STATE, "one", "--two", "drei vier")
program("state of a command", "", dedent(STATE), "x", "-y", argv="python -c")
program("state of a module", STATE, "x", "-y", argv="python -m main")
program("state buffered", STATE, env={"PYTHONUNBUFFERED": ""})
program("state by options", STATE, argv="python3 -uBsq main.py", env={"PYTHONUNBUFFERED": ""})
program("state by variables", STATE, env={
    "PYTHONDONTWRITEBYTECODE": "1", "PYTHONNOUSERSITE": "1", "PYTHONPYCACHEPREFIX": "/tmp/none", "TZ": "Asia/Tokyo",
    "PYTHONIOENCODING": "latin-1:replace", "PYTHONWARNINGS": "error::UserWarning,ignore", "HOME": "/nowhere",
})  # fmt: skip
program("state python3.11", STATE, argv="python3.11 -W once main.py")
program("state other locale", STATE, env={"LANG": "", "LC_ALL": "C.utf8"})
program("state path", STATE, env={"PYTHONPATH": "lib:/nowhere/:./lib:"}, files={"lib/own.py": ""})
program("names", NAMES)
program("names of a command", "", dedent(NAMES), argv="python -c")
program("names of a module", NAMES, argv="python -m main")
program(
    "names in a package", files={"pkg/__init__.py": "", "pkg/__main__.py": NAMES}, argv="python -m pkg a b"
)
program(
    "names in a submodule", files={"pkg/__init__.py": "", "pkg/sub.py": NAMES}, argv="python -m pkg.sub a b"
)
program("names in a directory", files={"app/__main__.py": NAMES, "app/part.py": ""}, argv="python app a b")
program("names by dotted path", NAMES, argv="python ./main.py")
program("names below", files={"deep/er/main.py": NAMES}, argv="python deep/../deep/er/main.py")
program("stack", STACK)
program("stack of a command", "", dedent(STACK), argv="python -c")
program("stack of a module", STACK, argv="python -m main")
program("stack at exit", "import atexit, traceback\natexit.register(traceback.print_stack)\n")
program(
    "stack in a hook",
    """
    import sys, traceback
    def hook(*error):
        traceback.print_stack(); print(error[1], sys.exc_info())
    sys.excepthook = hook
    raise KeyError("gone")
""",
)
program(
    "traceback",
    """
    def inner():
        return {}["x"]
    def outer():
        try:
            inner()
        except KeyError as error:
            raise ValueError("chained") from error
    try:
        outer()
    except ValueError:
        raise RuntimeError("while handling")
""",
)
program("traceback of a module", "1/0", argv="python -m main")
program("traceback of a command", "", "def f(): 1/0\nf()", argv="python -c")
program(
    "traceback in a directory",
    files={"app/__main__.py": "import part", "app/part.py": "1/0"},
    argv="python app",
)
program("traceback of an import", "import broken", files={"broken.py": "def f(:\n  pass\n"})
program("exception group", "raise ExceptionGroup('many', [ValueError(1), KeyError('k')])")
program("exception notes", "e = ValueError('x'); e.add_note('look here'); raise e")
program(
    "exception that cannot be shown",
    """
    class Odd(Exception):
        def __str__(self): raise RuntimeError("no")
    raise Odd()
""",
)
program(
    "hook that fails",
    """
    import sys
    def hook(*_): raise RuntimeError("in the hook")
    sys.excepthook = hook
    raise KeyError("original")
""",
)
program(
    "hook that exits",
    """
    import sys
    def hook(*_): sys.exit(7)
    sys.excepthook = hook
    raise KeyError("original")
""",
)
program("hook removed", "import sys\ndel sys.excepthook\n1/0\n")
program("syntax error", "print('never')\nx = (1,\ny = 2\n")
program("indentation error", "if True:\nprint(1)\n")
program("syntax error of a command", "", "print(1", argv="python -c")
program("not utf-8", "print('caf\xe9')\n".encode("latin-1"))
program("declared latin-1", "# -*- coding: latin-1 -*-\nprint('caf\xe9', ascii('\xe9'))\n".encode("latin-1"))
program("unknown coding", b"# coding: nonsense\nprint(1)\n")
program("byte order mark", b"\xef\xbb\xbfprint('marked')\n1/0\n")
program("windows line ends", b"def f():\r\n    '''a\r\n    b'''\r\n\r\nprint(repr(f.__doc__))\r\n1/0\r\n")
program("null byte", b"x = 1\x00\nprint(x)\n")
program("no final newline", b"if True:\n    print('end')")
program("empty", "")
program("future", "from __future__ import annotations\ndef f(x: Unknown): ...\nprint(f.__annotations__)\n")
for code in ("0", "3", "256", "-1", "1 << 80", "None", "'words'", "(1, 2)", "True", "3.5", "object", "[]"):
    program(f"exit {code}", f"import sys\nprint('out')\nsys.exit({code})\n")
program("exit raised", "raise SystemExit\n")
program(
    "exit subclass",
    """
    class Mine(SystemExit):
        code = 5
    raise Mine("x")
""",
)
program("exit of a module", "exit('module says no')", argv="python -m main")
program("exit of a command", "", "quit(9)", argv="python -c")
program(
    "exit from a thread",
    """
    import sys, threading
    thread = threading.Thread(target=lambda: sys.exit(4)); thread.start(); thread.join(); print("after")
""",
)
program(
    "exit at once",
    "import os\nprint('kept', flush=True)\nprint('lost')\nos._exit(6)\n",
    env={"PYTHONUNBUFFERED": ""},
)
program(
    "exception in a thread",
    """
    import threading
    def work(): raise ValueError("thread")
    thread = threading.Thread(target=work, name="worker"); thread.start(); thread.join()
""",
)
program(
    "threads are awaited",
    """
    import threading, atexit
    go = threading.Event()
    def work():
        go.wait(); print("late")
    atexit.register(print, "at exit")
    threading.Thread(target=work).start()
    print("main ends"); go.set()
""",
)
program(
    "daemon thread",
    """
    import threading
    started = threading.Event()
    def work():
        started.set(); threading.Event().wait()
    threading.Thread(target=work, daemon=True).start(); started.wait()
    open("left", "w").write("bytes")
    held = open("held", "w"); held.write("held")
    print("ends")
""",
)
program(
    "exit handlers",
    """
    import atexit, sys
    atexit.register(print, "first registered")
    def fails(): raise ValueError("in a handler")
    atexit.register(fails); atexit.register(sys.exit, 3)
    atexit.register(lambda: print("last", "__file__" in globals(), __name__))
    print(atexit._ncallbacks() > 0)
""",
)
program(
    "files left open",
    """
    a = open("a.txt", "w"); a.write("in a global")
    class Holder:
        def __init__(self): self.file = open("b.txt", "w"); self.file.write("in an object")
        def __del__(self): print("del", self.file.closed, __name__)
    holder = Holder(); cycle = [holder]; cycle.append(cycle)
    import part
    sys_out = __import__("sys").stdout
""",
    files={"part.py": "import json\nc = open('c.txt', 'w'); c.write('in a module')\njson.kept = c"},
)
program(
    "finalizers",
    """
    import weakref
    class Loud:
        def __init__(self, name): self.name = name
        def __del__(self): print("del", self.name)
    _private, public = Loud("private"), Loud("public")
    class Here: pass
    here = Here(); weakref.finalize(here, print, "finalized")
    def f(x=Loud("default")): return f
    a, b = Loud("a"), Loud("b"); a.other, b.other = b, a
""",
)
program(
    "replaced stdout",
    """
    import sys
    class Tee:
        def __init__(self, stream): self.stream, self.log = stream, open("log.txt", "w")
        def write(self, text): self.stream.write(text); self.log.write(text)
        def flush(self): pass
    sys.stdout = Tee(sys.stdout)
    print("twice")
""",
)
program("stdout closed", "import sys\nprint('x')\nsys.stdout.close()\n", env={"PYTHONUNBUFFERED": ""})
program("stdout none", "import sys\nsys.stdout = None\nprint('nowhere')\n")
program("descriptor closed", "import os\nprint('x')\nos.close(1)\n", env={"PYTHONUNBUFFERED": ""})
program("input", "print(input('? '))")
program("stdin", "import sys\nprint(repr(sys.stdin.read()), sys.stdin.isatty(), sys.stdin.buffer.read())\n")
program(
    "odd characters",
    "print('\\udcff\\xe9\\u2603'); import sys; print('\\ud800', file=sys.stderr); print('\\ud800')",
)
program("huge output", "for i in range(200000): print(i, 'x' * 20)", env={"PYTHONUNBUFFERED": ""})
program(
    "mixed streams",
    """
    import os, sys
    print("one"); os.write(1, b"two\\n"); print("three", file=sys.stderr); sys.stdout.buffer.write(b"four\\n"); print("five")
""",
    env={"PYTHONUNBUFFERED": ""},
)
program(
    "c output",
    """
    import ctypes
    ctypes.CDLL(None).puts(b"from C")
    print("from Python")
""",
)
program(
    "recursion",
    """
    def down(n=1):
        try:
            return down(n + 1)
        except RecursionError:
            return n
    print(down())
    def fall(): fall()
    fall()
""",
)
program(
    "recursion of a module", "def fall(n): print(n, end=' '); fall(n+1)\nfall(0)\n", argv="python -m main"
)
program("recursion of a command", "", "def fall(n): print(n, end=' '); fall(n+1)\nfall(0)", argv="python -c")
program("recursion in C", "x = []\nfor _ in range(5000): x = [x]\nrepr(x)\n")
program(
    "warnings",
    """
    import warnings, pkg
    warnings.warn("mine"); warnings.warn("old", DeprecationWarning); pkg.old()
    for _ in range(2): warnings.warn("again")
    print([f[:1] + f[2:] for f in warnings.filters][-5:])
""",
    files={
        "pkg.py": "import warnings\ndef old(): warnings.warn('pkg', DeprecationWarning); open('main.py')\n"
    },
)
program("warnings as errors", "import warnings\nwarnings.warn('mine')\n", argv="python -W error main.py")
program("warnings chosen", "import warnings\nwarnings.warn('a'); open('main.py'); print([f for f in warnings.filters if not f[1]][-8:])\n",
        argv="python -Wdefault::ResourceWarning -Wignore::UserWarning main.py", env={"PYTHONWARNINGS": "always"})  # fmt: skip
program("bad warning option", "print(1)", argv="python -W nonsense::x main.py")
program("argparse", """
    import argparse
    parser = argparse.ArgumentParser(description="d"); parser.add_argument("--n", type=int, required=True)
    parser.parse_args()
""", "--n", "x")  # fmt: skip
program(
    "argparse of a module",
    """
    import argparse
    argparse.ArgumentParser().parse_args()
""",
    "--help",
    argv="python -m main",
)
program(
    "logging",
    """
    import logging, sys
    print(logging.root.handlers, logging.root.level)
    logging.warning("first"); logging.basicConfig(level=logging.INFO, format="%(levelname)s %(module)s %(funcName)s %(lineno)d %(message)s", force=True)
    logging.info("x")
    def f(): logging.getLogger("a.b").warning("y", stack_info=True)
    f()
    logging.getLogger("file").addHandler(logging.FileHandler("run.log")); logging.getLogger("file").error("z")
""",
)
program(
    "pickle",
    """
    import pickle, dataclasses
    @dataclasses.dataclass
    class Point:
        x: int
        y: "int" = 2
    data = pickle.dumps(Point(1)); print(data, pickle.loads(data) == Point(1), Point.__module__)
    open("point.pkl", "wb").write(data)
""",
)
program(
    "inspect",
    """
    import inspect, sys
    def f(a, *, b=1):
        return a  # the source
    print(inspect.getsource(f), inspect.getfile(f), inspect.getmodule(f), inspect.getsource(sys.modules["__main__"])[:20])
""",
)
