"""Every option of every detector is described."""

import pytest
import torch
from pydantic import BaseModel

from kgvad.detector.api import Problem, Recipe
from kgvad.detector.registry import build, detector_class, detector_names
from kgvad.detector.run import TrainConfig

COLUMNS = tuple(f"action {index}" for index in range(16))


def undescribed(config):
    for name, field in config.model_fields.items():
        if not field.description:
            yield name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from undescribed(field.annotation)


@pytest.mark.parametrize("name", detector_names())
def test_every_option_has_a_description_of_one_line(name):
    cls = detector_class(name)
    assert not list(undescribed(cls.Config))
    assert cls.source and (cls.__doc__ or "").strip()


def test_every_field_of_the_configuration_has_a_description():
    assert not list(undescribed(TrainConfig)) and not list(undescribed(Recipe))


@pytest.mark.parametrize("name", detector_names())
def test_a_detector_that_names_categories_has_an_alignment(name):
    cls = detector_class(name)
    torch.manual_seed(0)
    anchors = torch.nn.functional.normalize(torch.randn(3, 4), dim=-1)
    problem = Problem(16, ("Normal", "A", "B"), 0, anchors, anchors, torch.arange(3), caption_dim=5, columns=COLUMNS)
    detector = build(name, problem).eval()
    captions = torch.randn(1, 9, 5) if cls.reads_captions else None
    with torch.no_grad():
        output = detector(torch.randn(1, 9, 16), torch.tensor([9]), captions)
    assert (output.alignment is not None) is cls.names_categories
