"""The wheel and the editable install, each in a throw-away venv: hook live, recipes found, nothing left behind.

The venvs see this environment's other packages through a path file, which runs none of their start-up hooks.
"""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

import pyserini_tasb
from tests.command_line import TASB
from tests.conftest import DIMENSION, TINY, TINY_MODEL, assert_top_hits

ROOT = Path(__file__).parents[2]
LIVE = "import sys; print(any(type(f).__name__ == 'PyseriniFinder' for f in sys.meta_path))"


@dataclass(frozen=True)
class Venv:
    folder: Path

    @property
    def packages(self) -> Path:
        return next((self.folder / "lib").glob("python*/site-packages"))

    def run(self, *arguments, check=True, **options):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        done = subprocess.run(
            [self.folder / "bin" / "python", *arguments], capture_output=True, text=True, check=False,
            env=environment, **options,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def pip(self, *arguments):
        self.run("-m", "pip", "--disable-pip-version-check", *arguments)

    def see_other_packages(self):
        (self.packages / "other-packages.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def files(self):
        return {path.relative_to(self.packages) for path in self.packages.rglob("*") if "__pycache__" not in path.parts}


@pytest.fixture(scope="session")
def checkout(tmp_path_factory):
    """A clean copy, without what builds, demos and virtual environments left."""
    leftovers = shutil.ignore_patterns(".git", ".*_cache", ".hypothesis", "__pycache__", "*.egg-info", "build", "dist")

    def ignored(folder, names):
        made_here = {
            name for name in names for mark in ("pyvenv.cfg", ".tasb-steps") if Path(folder, name, mark).exists()
        }
        return leftovers(folder, names) | made_here

    return shutil.copytree(ROOT, tmp_path_factory.mktemp("source") / "checkout", ignore=ignored)


@pytest.fixture(scope="session")
def distributions(checkout, tmp_path_factory):
    """The source distribution, and the wheel built from it (not from the checkout: a file it lacks would show).

    `make release` names the folder of those that it has built.
    """
    if "TASB_DISTRIBUTIONS" in os.environ:
        output = Path(os.environ["TASB_DISTRIBUTIONS"])
    else:
        output = tmp_path_factory.mktemp("dist")
        build(checkout, output)
    return next(output.glob("*.tar.gz")), next(output.glob("*.whl"))


def build(source, output, *options):
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", *options, "--outdir", output, source],
        check=True, capture_output=True,
    )  # fmt: skip


def fresh_venv(folder):
    venv.create(folder, with_pip=True, symlinks=True)
    made = Venv(folder)
    made.pip("uninstall", "-q", "-y", "setuptools")  # Python 3.11 brings one too old to build with
    return made


@pytest.fixture(scope="session")
def wheel_venv(distributions, tmp_path_factory):
    made = fresh_venv(tmp_path_factory.mktemp("wheel-venv"))
    made.pip("install", "--no-deps", "--no-index", distributions[1])
    made.see_other_packages()
    return made


@pytest.fixture(scope="session")
def editable_venv(checkout, tmp_path_factory):
    made = fresh_venv(tmp_path_factory.mktemp("editable-venv"))
    made.see_other_packages()  # setuptools, for the build
    made.pip("install", "--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed", "-e", checkout)
    return made


@pytest.fixture(params=["wheel_venv", "editable_venv"])
def installed(request):
    return request.getfixturevalue(request.param)


def test_wheel_holds_what_users_need_and_nothing_else(distributions):
    names = zipfile.ZipFile(distributions[1]).namelist()
    for wanted in (
        "pyserini_tasb.pth",
        "pyserini_tasb.start",
        "pyserini_tasb/py.typed",
        "pyserini_tasb/_data/encoders/tasb.yaml",
        "pyserini_tasb/_data/fusion/README.md",
        "pyserini_tasb/_data/regressions/data/README.md",
        "pyserini_tasb/formats/cacm/cacm.tar.gz",
        "pyserini_tasb/regression/templates/report.html",
        "pyserini_tasb/regression/templates/report.css",
        "pyserini_tasb/regression/templates/report.js",
        "pyserini_tasb/retrieval/templates/hits.html",
        "pyserini_tasb/retrieval/templates/hits.css",
        "pyserini_tasb/retrieval/templates/hits.js",
        "pyserini_tasb/templates/page.html",
        "pyserini_tasb/templates/page.css",
        "pyserini_tasb/templates/page.js",
        "pyserini_tasb/_data/regressions/paper/table-6.yaml",
    ):
        assert wanted in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {
        "pyserini_tasb", "pyserini_tasb.pth", "pyserini_tasb.start"
    }  # fmt: skip


def test_source_distribution_holds_the_repository_and_nothing_that_is_made_in_it(distributions):
    with tarfile.open(distributions[0]) as source:
        names = {name.partition("/")[2] for name in source.getnames()}
    for wanted in (
        ".ci/run",
        ".ci/smoke_test.py",
        ".pre-commit-config.yaml",
        "CHANGELOG.md",
        "CITATION.cff",
        "CONTRIBUTING.md",
        "LICENSE",
        "Makefile",
        "benchmarks/every_benchmark.py",
        "docs/pages.py",
        "encoders/tasb.yaml",
        "mkdocs.yml",
        "pyserini_tasb/formats/cacm/README.md",
        "regressions/data/README.md",
        "startup/pyserini_tasb.pth",
        "tests/conftest.py",
    ):
        assert wanted in names
    made = {"site", "build", "dist", "demo-out", "bench-out", "gpu-out", "regress-out"}
    made |= {".venv", ".git", "shared", "__pycache__"}
    assert [name for name in names if made & set(name.split("/")) or name.endswith(".pyc")] == []


def test_the_same_wheel_from_the_checkout_and_from_the_source_distribution(distributions, checkout, tmp_path):
    build(checkout, tmp_path, "--wheel")
    ours, theirs = (zipfile.ZipFile(path) for path in (next(tmp_path.glob("*.whl")), distributions[1]))
    assert ours.namelist() == theirs.namelist()
    assert [name for name in ours.namelist() if ours.read(name) != theirs.read(name)] == []


# Also the terms of what is not ours.
LICENCES = ("LICENSE", "pyserini_tasb/formats/cacm/README.md", "regressions/data/README.md")


def test_the_terms_of_the_bundled_data_stand_beside_the_licence(distributions):
    wheel = zipfile.ZipFile(distributions[1])
    (folder,) = {name.partition("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    found = {name for name in wheel.namelist() if name.startswith(f"{folder}/licenses/")}
    assert found == {f"{folder}/licenses/{name}" for name in LICENCES}
    for name in LICENCES:
        assert wheel.read(f"{folder}/licenses/{name}") == (ROOT / name).read_bytes()
    about = email.message_from_bytes(wheel.read(f"{folder}/METADATA"))
    assert about["License-Expression"] == "Apache-2.0"
    assert tuple(about.get_all("License-File")) == LICENCES
    with tarfile.open(distributions[0]) as source:
        top = source.getnames()[0].partition("/")[0]
        for name in LICENCES:
            assert source.extractfile(f"{top}/{name}").read() == (ROOT / name).read_bytes()
    terms = " ".join("".join((ROOT / name).read_text() for name in LICENCES[1:]).split())
    for said in ("for non-commercial research only", "TREC Deep Learning tracks", "Apache License 2.0"):
        assert said in terms
    data = {Path(name).parent for name in wheel.namelist() if name.endswith((".gz", ".html.gz", ".tsv.gz"))}
    # No data but those that these terms are about.
    assert data == {Path("pyserini_tasb/formats/cacm"), Path("pyserini_tasb/_data/regressions/data")}


def test_one_version_and_the_pythons_that_a_release_is_tried_on(distributions):
    wheel = zipfile.ZipFile(distributions[1])
    (metadata,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    about = email.message_from_bytes(wheel.read(metadata))
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    version, day = re.search(r"^## (\S+) - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE).groups()
    assert about["Version"] == pyserini_tasb.__version__ == version == citation["version"]
    assert str(citation["date-released"]) == day
    assert citation["license"] == about["License-Expression"]
    tried = re.search(r"^PYTHONS \?= (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    minor = "Programming Language :: Python :: 3."
    assert [each.rpartition(" ")[2] for each in about.get_all("Classifier") if each.startswith(minor)] == tried


def test_the_paper_is_cited_with_its_authors():
    paper = yaml.safe_load((ROOT / "CITATION.cff").read_text())["preferred-citation"]
    assert [f"{author['given-names']} {author['family-names']}" for author in paper["authors"]] == [
        "Sebastian Hofstätter", "Sheng-Chieh Lin", "Jheng-Hong Yang", "Jimmy Lin", "Allan Hanbury"
    ]  # fmt: skip
    assert (paper["doi"], paper["year"]) == ("10.1145/3404835.3462891", 2021)


def test_hook_is_live(installed):
    assert installed.run("-c", LIVE, cwd="/").stdout == "True\n"
    off = installed.run("-c", f"import os; os.environ['PYSERINI_TASB_AUTOLOAD'] = '0'; {LIVE}", cwd="/")
    assert off.stdout == "True\n"  # the switch is read at start-up, not later
    assert installed.run("-S", "-c", LIVE, cwd="/").stdout == "False\n"


@pytest.mark.parametrize("extra", ["cpu", "onnx", "demo", "ray"])
def test_an_extra_is_added_to_an_installation_by_the_command_in_our_messages(installed, extra):
    # It is in no index, so what pip finds is what is installed; all that these extras need is there as well.
    installed.pip("install", "--dry-run", "--no-index", f"pyserini-tasb[{extra}]")


def test_doctor_knows_what_to_install_again(wheel_venv, editable_venv, distributions, checkout):
    code = "from pyserini_tasb.environment.checks import reinstall_command; print(reinstall_command())"
    again = "pip install --force-reinstall --no-deps"
    assert wheel_venv.run("-c", code, cwd="/").stdout == f"{again} {distributions[1]}\n"
    assert editable_venv.run("-c", code, cwd="/").stdout == f"{again} -e {checkout}\n"


@pytest.mark.parametrize("at", ["/", "checkout"])
def test_recipes_are_found(installed, checkout, at, tmp_path, monkeypatch):
    monkeypatch.setenv("PYSERINI_TASB_HOME", str(tmp_path))  # not where other tests' training leaves its cards
    where = checkout if at == "checkout" else at
    code = "from pyserini_tasb.recipes.lookup import encoder_cards; print(*encoder_cards())"
    assert installed.run("-c", code, cwd=where).stdout == "margin-mse minilm tasb\n"
    done = installed.run(*TASB, "list", "encoders", cwd=where)
    assert "tasb:margin-mse" in done.stdout


def test_stock_pyserini_searches_with_our_encoder(wheel_venv, faiss_index, expected_scores, tmp_path):
    assert DIMENSION == 32
    common = ["--index", faiss_index, "--topics", TINY / "topics.tsv", "--hits", "20"]
    for name, encoder in (("path", [TINY_MODEL]), ("class", [TINY_MODEL, "--encoder-class", "tasb"])):
        wheel_venv.run(
            "-m", "pyserini.search.faiss", *common, "--output", tmp_path / name, "--encoder", *encoder, cwd=tmp_path
        )
        assert_top_hits(tmp_path / name, expected_scores, 20)


def test_uninstalling_leaves_nothing(distributions, checkout, tmp_path):
    for source in (["--no-index", distributions[1]], ["--no-build-isolation", "-e", checkout]):
        made = fresh_venv(tmp_path / ("editable" if "-e" in source else "wheel"))
        before = made.files()
        made.see_other_packages()
        made.pip("install", "--no-deps", "--ignore-installed", *source)
        (made.packages / "other-packages.pth").unlink()
        assert made.run("-c", LIVE, cwd="/").stdout == "True\n"
        made.pip("uninstall", "-y", "pyserini-tasb")
        assert made.files() == before
        done = made.run("-X", "importtime", "-c", LIVE, cwd="/")
        assert done.stdout == "False\n"
        assert "pyserini_tasb" not in done.stderr


def test_a_deleted_checkout_does_not_break_the_interpreter(distributions, tmp_path):
    made = fresh_venv(tmp_path / "venv")
    made.pip("install", "--no-deps", "--no-index", distributions[1])
    (made.packages / "pyserini_tasb").rename(tmp_path / "gone")
    done = made.run("-c", LIVE, cwd="/")
    assert (done.stdout, done.stderr) == ("False\n", "")
