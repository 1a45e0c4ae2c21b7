"""What the README and the tutorial say runs as it stands."""

import doctest
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def blocks(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.heavy
def test_the_readme_runs_and_prints_what_it_says(tmp_path, monkeypatch):
    monkeypatch.setenv("FLYBACK_DIRECTORY", str(tmp_path))
    (text,) = blocks("README.md")
    test = doctest.DocTestParser().get_doctest(text, {}, "README", "README.md", 0)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    out = []
    runner.run(test, out=out.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(out)


@pytest.mark.heavy
def test_the_tutorial_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FLYBACK_DIRECTORY", str(tmp_path / "archive"))
    script = tmp_path / "first_scan.py"
    script.write_text("\n".join(blocks("docs/first-scan.md")), encoding="utf-8")
    runpy.run_path(str(script))
    assert "archimedean" not in capsys.readouterr().out


def test_links_between_pages_hold():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} points to {target}"
