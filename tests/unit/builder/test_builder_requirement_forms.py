"""The forms that authors keep requirements in: a project, a lock of uv, a conda file, a bare list."""

from __future__ import annotations

import pytest

from vitrine_builder.requirements import CondaPart, RequirementsError, bare_list, read_requirements

A, B, C = (f"sha256:{letter * 64}" for letter in "abc")
PROJECT = """\
[project]
name = "demo"
requires-python = ">=3.10"
dependencies = [
    "NumPy>=2,<3",
    'pandas; python_version > "3"',
]

[project.optional-dependencies]
gpu = ["cupy-cuda12x"]

[dependency-groups]
plot = ["matplotlib", {include-group = "fonts"}]
fonts = ["fonttools"]
loop = [{include-group = "loop"}]
"""
LOCK = f"""\
version = 1
requires-python = ">=3.11"

[[package]]
name = "demo"
version = "0.1.0"
source = {{ virtual = "." }}
dependencies = [
    {{ name = "requests", extra = ["socks"] }},
    {{ name = "colorama", marker = "sys_platform == 'win32'" }},
    {{ name = "tool", version = "2.0", marker = "python_full_version >= '3.11'" }},
]

[package.optional-dependencies]
gpu = [{{ name = "driver" }}]

[package.dev-dependencies]
dev = [{{ name = "local-thing" }}]

[[package]]
name = "colorama"
version = "0.4.6"
source = {{ registry = "https://index.example/simple" }}

[[package]]
name = "driver"
version = "1.0"
source = {{ registry = "https://index.example/simple" }}
dependencies = [{{ name = "requests" }}]
wheels = [{{ url = "https://index.example/driver.whl", hash = "{C}", size = 9 }}]

[[package]]
name = "local-thing"
version = "3.0"
source = {{ git = "https://code.example/x.git?rev=1#abc" }}

[[package]]
name = "pysocks"
version = "1.7.1"
source = {{ registry = "https://index.example/simple" }}
sdist = {{ url = "https://index.example/pysocks.tar.gz", hash = "{B}", size = 9 }}
wheels = [{{ url = "https://index.example/pysocks.whl", hash = "{A}", size = 9 }}]

[[package]]
name = "requests"
version = "2.32.0"
source = {{ registry = "https://index.example/simple" }}
wheels = [{{ url = "https://index.example/requests.whl", hash = "{B}", size = 9 }}]

[package.optional-dependencies]
socks = [{{ name = "pysocks", marker = "extra == 'socks' or sys_platform != 'win32'" }}]

[[package]]
name = "tool"
version = "1.0"
source = {{ registry = "https://index.example/simple" }}

[[package]]
name = "tool"
version = "2.0"
source = {{ registry = "https://index.example/simple" }}
"""
CONDA = """\
name: demo
channels: [conda-forge, nodefaults]
dependencies:
  - python=3.11
  - pip
  - pip:
      - numpy==2.4
      - pandas
"""


def texts(text: str, name: str, *extras: str) -> list[tuple[int, str]]:
    requirements = read_requirements(text.encode(), name, extras, "3.11")
    return [(line.line, line.text) for line in requirements.lines]


def refusal(text: str, name: str, *extras: str) -> str:
    with pytest.raises(RequirementsError) as caught:
        read_requirements(text.encode(), name, extras, "3.11")
    return str(caught.value)


def test_a_project_names_its_dependencies_with_their_lines() -> None:
    assert texts(PROJECT, "pyproject.toml") == [
        (5, "numpy<3,>=2"),
        (6, 'pandas ; python_version > "3"'),
    ]


def test_optional_lists_and_groups_come_when_they_are_named() -> None:
    more = texts(PROJECT, "app/pyproject.toml", "GPU", "plot")[2:]
    assert more == [(10, "cupy-cuda12x"), (13, "matplotlib"), (14, "fonttools")]


@pytest.mark.parametrize(
    ("text", "extras", "said"),
    [
        (PROJECT, ("cpu",), "there is no optional list `cpu`; it has fonts, gpu, loop, plot"),
        (PROJECT, ("loop",), "includes itself"),
        ("[tool.x]\n", (), "there is no `[project]` table"),
        ("[project\n", (), "is not TOML"),
        ("x = " + "[" * 9_000, (), "is not TOML"),
        ("project = 3\n", (), "`project` is no table"),
        ('[project]\ndynamic = ["dependencies"]\n', (), "line 2: the dependencies are `dynamic`"),
        ('[project]\nrequires-python = "<3.11"\n', (), "line 2: it asks for Python <3.11"),
        ('[project]\nrequires-python = "new"\n', (), "line 2: `new` names no Python versions"),
        ("[project]\ndependencies = 3\n", (), "is no list of texts"),
        (
            '[project]\ndependencies = [\n"six @ file:///etc/x"]\n',
            (),
            "line 3: `six` is taken from an address",
        ),
        ('[project]\ndependencies = ["six\\n-r x"]\n', (), "is no single line"),
        ('[project]\ndependencies = ["-r x"]\n', (), "line 2: the option `-r` is not allowed"),
    ],
)
def test_a_project_that_cannot_be_used_says_where(text: str, extras: tuple[str, ...], said: str) -> None:
    assert said in refusal(text, "pyproject.toml", *extras)


def test_a_lock_of_uv_gives_what_concerns_the_target() -> None:
    requirements = read_requirements(LOCK.encode(), "uv.lock", ("gpu",), "3.11")
    assert requirements.exact
    found = {line.text: (line.line, line.hashes) for line in requirements.lines}
    assert found == {
        "requests==2.32.0": (45, (B,)),
        "pysocks==1.7.1": (38, (A, B)),
        "driver==1.0": (26, (C,)),
        "tool==2.0": (59, ()),
    }


def test_without_the_extra_its_packages_are_left_out() -> None:
    assert "driver==1.0" not in [text for _, text in texts(LOCK, "uv.lock")]


def test_an_exact_list_is_another_than_the_same_that_is_not() -> None:
    exact = read_requirements(LOCK.encode(), "uv.lock", (), "3.11")
    loose = read_requirements(exact.text.encode(), "requirements.txt", (), "3.11")
    assert (exact.text, exact.digest == loose.digest) == (loose.text, False)


@pytest.mark.parametrize(
    ("text", "extras", "said"),
    [
        (LOCK, ("dev",), "line 33: `local-thing` comes from git and not from an index"),
        (LOCK, ("none",), "there is no optional list `none`"),
        (LOCK.replace('virtual = "."', 'registry = "x"'), (), "names no project of its own"),
        (LOCK.replace('name = "requests"\nversion', 'name = "other"\nversion'), (), "does not have it"),
        (LOCK.replace("sys_platform == 'win32'", "no marker"), (), "is not understood"),
        (LOCK.replace("version = 1\n", "version = 9\n"), (), "no lock of uv (version 1)"),
        ("version = 1\npackage = [3]\n", (), "is not understood"),
        (LOCK.replace(">=3.11", ">=3.12"), (), "models run on Python 3.11"),
    ],
)
def test_a_lock_that_cannot_be_used_says_where(text: str, extras: tuple[str, ...], said: str) -> None:
    assert said in refusal(text, "uv.lock", *extras)


def test_a_conda_file_with_python_and_pip_needs_no_conda() -> None:
    requirements = read_requirements(CONDA.encode(), "environment.yml", (), "3.11")
    assert requirements.conda is None
    assert [(line.line, line.text) for line in requirements.lines] == [(7, "numpy==2.4"), (8, "pandas")]


@pytest.mark.parametrize(
    "python", ["python", "python=3", "python=3.11.7", "python 3.11.*", "python>=3.9", "python >=3.9,<3.12"]
)
def test_a_python_that_models_run_on_needs_no_conda(python: str) -> None:
    text = CONDA.replace("python=3.11", python)
    assert read_requirements(text.encode(), "e.yaml", (), "3.11").conda is None


@pytest.mark.parametrize("python", ["python=3.10", "python>=3.12", "python=2", "python=3.1"])
def test_another_python_is_refused_by_its_line(python: str) -> None:
    said = refusal(CONDA.replace("python=3.11", python), "e.yaml")
    assert (
        said == f"e.yaml line 4: `{python}` is not to be had: models run on Python 3.11; write `python=3.11`"
    )


def test_a_package_that_begins_like_python_needs_conda() -> None:
    text = CONDA.replace("python=3.11", "pythonia")
    conda = read_requirements(text.encode(), "e.yaml", (), "3.11").conda
    assert conda == CondaPart(((4, "pythonia"), (5, "pip")), ("conda-forge",))


def test_packages_of_conda_are_kept_with_their_lines() -> None:
    text = CONDA.replace("  - pip\n", "  - R-base = 4.4\n  - libpq >=16,<17\n  - zlib 1.3\n")
    requirements = read_requirements(text.encode(), "environment.yml", (), "3.11")
    assert requirements.conda is not None
    assert requirements.conda.specs == (
        (4, "python=3.11"),
        (5, "r-base= 4.4"),
        (6, "libpq>=16,<17"),
        (7, "zlib 1.3"),
    )
    assert requirements.digest != read_requirements(CONDA.encode(), "environment.yml", (), "3.11").digest


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- numpy\n", "has no list `dependencies`"),
        ("dependencies: [numpy\n", "environment.yml"),
        ("dependencies: []\nhooks: [x]\n", "line 2: the key `hooks` is not known"),
        ("dependencies: []\nvariables: {A: b}\n", "line 2: environment variables cannot be set"),
        ("dependencies:\n- conda-forge::numpy\n", "line 2: `conda-forge::numpy` names a channel"),
        ("dependencies:\n- https://x.example/y.conda\n", "line 2: "),
        ("dependencies:\n- 'numpy --flag'\n", "line 2: `numpy --flag` is not a package"),
        ("dependencies:\n- {npm: [x]}\n", "line 2: an entry is neither"),
        ("dependencies:\n- pip:\n  - -r more.txt\n", "line 3: the option `-r` is not allowed"),
        ("dependencies:\n- pip:\n  - 3\n", "line 3: an entry is no requirement"),
        ("channels: [file:///etc]\ndependencies: [a]\n", "the channel `file:///etc` is not a name"),
        ("channels: 3\ndependencies: [a]\n", "`channels` is no list"),
    ],
)
def test_a_conda_file_that_cannot_be_used_says_where(text: str, said: str) -> None:
    assert said in refusal(text, "environment.yml")


def test_a_bare_list_counts_its_entries() -> None:
    requirements = bare_list(["numpy==2.4", " Pandas >= 2 "], "package.requirements")
    assert [(line.line, line.text) for line in requirements.lines] == [(1, "numpy==2.4"), (2, "pandas>=2")]


@pytest.mark.parametrize("entry", ["six\n-r x", " ", "-r x", "./six", "six @ https://x.example/six.whl"])
def test_an_entry_of_a_bare_list_is_held_to_the_same(entry: str) -> None:
    with pytest.raises(RequirementsError, match=r"package\.requirements entry 2: "):
        bare_list(["numpy", entry], "package.requirements")


def test_extras_of_a_form_that_has_none_are_refused() -> None:
    assert "this form has no optional lists" in refusal("six\n", "requirements.txt", "gpu")
