"""The generated pages name everything that is defined."""

from kgvad.reference import commands, commands_markdown, settings_markdown
from kgvad.settings import Settings


def test_every_key_is_documented():
    page = settings_markdown()
    for name, field in Settings.model_fields.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
        assert f"`KGVAD_{name.upper()}`" in row and field.description.replace("|", "\\|") in row


def test_every_command_and_option_is_documented():
    page = commands_markdown()
    sections = dict(part.split("\n", 1) for part in page.split("\n## ")[1:])
    leaves = [one for one in commands() if not one.is_group]
    assert list(sections) == [" ".join(one.words) for one in leaves]
    for one in leaves:
        for parameter in one.click.params:
            name = parameter.opts[0] if parameter.param_type_name == "option" else parameter.help
            assert name.replace("|", "\\|") in sections[" ".join(one.words)], (one.words, name)


def test_types_and_defaults():
    page = commands_markdown()
    assert "| `--stride` `INTEGER` | `16` | Frames per snippet" in page
    assert "| `--temporal` `mean16\\|mean4\\|centre\\|first` |" in page
    assert "| `--category`, `-c` `TEXT` | required |" in page
