"""More of `interpreter_programs`: processes, signals, packages, files that are missing."""

from __future__ import annotations

from interpreter_programs import program

program(
    "doctest and unittest",
    '''
    import unittest, doctest
    def f():
        """
        >>> f()
        1
        """
        return 1
    class T(unittest.TestCase):
        def test(self): self.assertEqual(doctest.testmod().failed, 0)
    print(unittest.TextTestRunner(stream=open("result", "w")).run(unittest.defaultTestLoader.loadTestsFromName("__main__")))
''',
)
program(
    "typing",
    """
    import typing, sys
    class N(typing.NamedTuple):
        a: "typing.Optional[Later]"
    class Later: pass
    print(typing.get_type_hints(N), N.__module__)
""",
)
for method in ("fork", "spawn", "forkserver"):
    program(f"multiprocessing {method}", f"""
        import multiprocessing as mp, os, sys
        def square(x): return x * x, __name__ in ("__main__", "__mp_main__"), sys.argv, os.path.basename(os.getcwd()) != ""
        if __name__ == "__main__":
            with mp.get_context("{method}").Pool(2) as pool:
                print(pool.map(square, range(3)))
            process = mp.get_context("{method}").Process(target=sys.exit, args=(3,))
            process.start(); process.join(); print(process.exitcode, mp.current_process(), mp.parent_process())
    """)  # fmt: skip
program(
    "executors",
    """
    from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
    def work(x): return x + 1
    if __name__ == "__main__":
        with ProcessPoolExecutor(2) as pool: print(list(pool.map(work, range(4))))
        pool = ThreadPoolExecutor(2); print(pool.submit(work, 1).result())
        pool.submit(print, "not awaited by hand")
""",
)
program(
    "shared memory and locks",
    """
    import multiprocessing as mp
    from multiprocessing import shared_memory
    def add(lock, value):
        with lock: value.value += 1
    if __name__ == "__main__":
        lock, value = mp.Lock(), mp.Value("i", 0)
        ps = [mp.Process(target=add, args=(lock, value)) for _ in range(3)]
        [p.start() for p in ps]; [p.join() for p in ps]
        block = shared_memory.SharedMemory(create=True, size=8); block.close(); block.unlink()
        print(value.value, [p.exitcode for p in ps])
""",
)
program(
    "fork",
    """
    import os, sys, atexit
    atexit.register(print, "exit handler")
    print("before", flush=True)
    if (child := os.fork()) == 0:
        print("child"); sys.exit(5)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
""",
)
program(
    "subprocess",
    """
    import subprocess, sys
    print(subprocess.run([sys.executable, "-c", "import sys; print(sys.argv, sys.flags)"] , capture_output=True, text=True).stdout)
    print(subprocess._args_from_interpreter_flags())
    print(subprocess.run("python -c 'print(6)'; echo $0 $HOME", shell=True, capture_output=True, text=True).stdout)
    subprocess.run(["sh", "-c", "echo to stderr >&2; kill -PIPE $$"])
""",
)
program(
    "exec",
    "import os, sys\nprint('before', flush=True)\nos.execv(sys.executable, [sys.executable, '-c', 'print(1); 1/0'])\n",
)
program("killed", "import os, signal\nprint('x', flush=True)\nos.kill(os.getpid(), signal.SIGTERM)\n")
program(
    "interrupted",
    "import os, signal, atexit\natexit.register(print, 'bye')\nos.kill(os.getpid(), signal.SIGINT)\n",
)
program("interrupt raised", "raise KeyboardInterrupt\n")
program("interrupt of a module", "raise KeyboardInterrupt\n", argv="python -m main")
program("interrupt of a command", "", "raise KeyboardInterrupt", argv="python -c")
program(
    "interrupt caught",
    "import os, signal\ntry:\n  os.kill(os.getpid(), 2)\nexcept KeyboardInterrupt:\n  print('caught')\n",
)
program("aborted", "import os\nos.abort()\n")
program("alarm", "import signal\nsignal.alarm(1)\nsignal.pause()\n")
program(
    "broken pipe",
    "import os, sys\nr, w = os.pipe(); os.close(r)\ntry:\n  os.write(w, b'x')\nexcept BrokenPipeError as e:\n  print(e)\n",
)
program(
    "handler",
    "import signal\nsignal.signal(signal.SIGUSR1, lambda n, f: print(n, f.f_code.co_name, f.f_back))\nsignal.raise_signal(10)\n",
)
program("fatal", "import faulthandler\nprint(faulthandler.is_enabled())\n")
program(
    "asyncio",
    """
    import asyncio, signal
    async def main():
        print(asyncio.get_running_loop().is_running()); await asyncio.sleep(0)
        process = await asyncio.create_subprocess_exec("echo", "hi", stdout=-1); print(await process.communicate())
        return await asyncio.to_thread(lambda: 3)
    print(asyncio.run(main()), asyncio.get_event_loop_policy().__class__)
    async def never(): ...
    never()
""",
)
program(
    "asyncio interrupted",
    """
    import asyncio, os, signal
    async def main():
        os.kill(os.getpid(), signal.SIGINT); await asyncio.sleep(9)
    asyncio.run(main())
""",
)
program("runpy", "import runpy\nprint(sorted(runpy.run_path('other.py', run_name='named')))\nrunpy.run_module('other', alter_sys=True)\n",
        files={"other.py": "import sys\nvalue = __name__\nprint(__name__, sys.argv, __file__)\n"})  # fmt: skip
program("main imported", "import sys\nimport main\nprint(main is sys.modules['__main__'], main.__name__)\n")
program(
    "reload",
    "import importlib, part\nprint(importlib.reload(part).n)\n",
    files={"part.py": "n = globals().get('n', 0) + 1\n"},
)
program("local package", "from pkg.a import value\nprint(value, __import__('pkg').__path__)\n",
        files={"pkg/__init__.py": "", "pkg/a.py": "from . import b\nvalue = b.value\n", "pkg/b.py": "value = 3\n"})  # fmt: skip
program(
    "relative data",
    "print(open('data/x.txt').read(), __import__('os').path.dirname(__file__) != '')\n",
    files={"data/x.txt": "text"},
)
program("resources", "from importlib import resources\nprint(resources.files('pkg').joinpath('x.txt').read_text())\n",
        files={"pkg/__init__.py": "", "pkg/x.txt": "resource"})  # fmt: skip
program(
    "shadows a warm module",
    "import json, warmed\nprint(json.__file__, warmed.value)\n",
    files={"warmed.py": "value = 'mine'\n"},
)
program(
    "shadows the library",
    "import random, tempfile\nprint(random.choice())\n",
    files={"random.py": "def choice(): return 'own'\nclass Random: pass\n"},
)
program("namespace does not shadow", "import warmed\nprint(warmed.value)\n", files={"warmed/note.txt": ""})
program(
    "path shadows",
    "import warmed\nprint(warmed.value)\n",
    files={"lib/warmed/__init__.py": "value = 'lib'\n"},
    env={"PYTHONPATH": "lib"},
)
program(
    "customized",
    "print('main')",
    files={"lib/sitecustomize.py": "print('customized')\n"},
    env={"PYTHONPATH": "lib"},
)
program(
    "packages",
    "import heavy, numpy, sys\nprint(heavy.value, numpy.arange(3).sum(), heavy.__file__, sys.modules['heavy'].__spec__)\n",
)
program(
    "numpy seeded",
    "import numpy as np\nnp.random.seed(3)\nprint(np.random.rand(2), np.random.default_rng(1).random(2))\n",
)
program("random seeded", "import random\nrandom.seed(3)\nprint(random.random(), random.getstate()[1][:3])\n")
program("missing file", argv="python nothing.py x")
program("missing below", argv="python3 ./no/thing.py")
program("missing module", argv="python -m nothing.at_all")
program("missing submodule", argv="python -m json.nothing")
program("missing main", files={"pkg/__init__.py": "print('imported')"}, argv="python -m pkg")
program("missing main in a directory", files={"app/x.py": ""}, argv="python app")
program("modules of the library", argv="python -m json.tool missing.json")
program("module with options", argv="python -m this x -h --version")
program("timeit", argv="python -m timeit -n 1 -r 1 raise KeyError(3)")
program("unknown encoding", "print(1)\n", env={"PYTHONIOENCODING": "nonsense"})
program(
    "bytecode",
    "import part\nprint(part.__cached__, __import__('os').path.exists(part.__cached__))\n",
    files={"part.py": ""},
)
program("symlinked script", "import os, sys\nos.symlink('real/prog.py', 'link.py')\nprint(os.popen('python link.py').read(), sys.path[0] != '')\n",
        files={"real/prog.py": "import near\nprint(__file__, near.v)\n", "real/near.py": "v = 1\n"})  # fmt: skip
program(
    "times",
    "import time, resource\nprint(time.process_time() < 5, resource.getrusage(resource.RUSAGE_SELF).ru_utime < 5)\n",
)
program("temporary files", "import tempfile, os\nwith tempfile.NamedTemporaryFile(dir='.') as f: print(os.path.exists(f.name))\nprint(tempfile.gettempdir())\n",
        env={"TMPDIR": "/dev/shm"})  # fmt: skip
program("trace module", "def f():\n  return 1\nf()\n", argv="python -m trace --trace main.py")
program("profile module", "print('profiled')\n", argv="python -m cProfile -o prof.bin main.py")
program("pdb", "print(1)\n", argv="python -m pdb main.py")
program(
    "settrace left on",
    "import sys\nsys.settrace(lambda frame, event, arg: print(event, frame.f_code.co_name))\ndef f(): pass\nf()\n",
)
program("unraisable", "class A:\n  def __del__(self): raise ValueError('x')\na = A()\na = None\n")
program(
    "garbage",
    "import gc\nclass A:\n  def __del__(self): print('collected')\na = A(); a.a = a; del a\nprint(gc.collect() > 0)\n",
)
program("help", "def f():\n  'doc'\nhelp(f)\n")
