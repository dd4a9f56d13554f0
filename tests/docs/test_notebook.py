"""The example notebook runs from top to bottom, and stands in the repository without outputs."""

import nbformat
import pytest
from nbclient import NotebookClient
from pages import ROOT

NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"


def test_no_outputs_are_stored():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code and all(not cell.outputs and cell.execution_count is None for cell in code)


@pytest.mark.slow
def test_the_notebook_runs_and_shows_the_page(weights, tmp_path, monkeypatch):
    weights("efficientnet-lite0")
    monkeypatch.setenv("KGVAD_OFFLINE", "1")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=250, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    assert "highest score" in printed[1][0].text
    assert "<iframe" in printed[-1][-1].data["text/html"]
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert (tmp_path / "report.json").is_file()
