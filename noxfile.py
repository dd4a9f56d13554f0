"""Sessions of `nox`: the tests on every Python that kgvad supports, the checks, and the documentation."""

import nox

nox.options.sessions = ["lint", "types", "tests", "docs"]
nox.options.reuse_existing_virtualenvs = True
PYTHONS = ["3.10", "3.11", "3.12", "3.13"]


def install(session: nox.Session, extras: str) -> None:
    """Build the wheel and install that, so that what is tested is what users get."""
    wheels = session.create_tmp()
    session.run("python", "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", wheels, ".")
    session.install("-c", "constraints.txt", "--find-links", wheels, f"kgvad[{extras}]")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The test suite against the built wheel."""
    install(session, "dev")
    session.run("pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """ruff: rules and formatting."""
    session.install("-c", "constraints.txt", "ruff")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """mypy in strict mode."""
    install(session, "dev")
    with session.chdir(session.create_tmp()):
        session.run("mypy", "-p", "kgvad", "--config-file", str(session.invoked_from) + "/pyproject.toml")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation site; warnings are errors."""
    install(session, "docs")
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "build/docs")
