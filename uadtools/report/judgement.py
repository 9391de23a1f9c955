"""The report of one scan that was judged by the truth."""

from __future__ import annotations

from uadtools.evaluation.evaluate import Evaluation
from uadtools.report.contents import gather
from uadtools.report.page import Page, Picture
from uadtools.report.picture import png
from uadtools.report.plots import figure_of
from uadtools.report.tables import tables
from uadtools.volume.io import Image
from uadtools.volume.roles import ROLES
from uadtools.volume.stream import Study

PLOTS = {"pr": "Precision against recall", "dice": "Dice against the threshold"}


def judged_page(evaluation: Evaluation, study: Study, truth: Image | None) -> Page:
    """Gather the report of the only study of an evaluation, with its figures and plots, which do not name it.

    An only image that says no role is what the evaluation took it for. Raises UadError as `gather` does.
    """
    if [*study.images] == ["scan"] and evaluation.report["kind"] in ROLES:
        image = study.product.derive(study.product.data, evaluation.report["kind"])
        study = Study(study.name, {image.role: image})
    report = {**evaluation.report, "scans": [{**row, "name": "this scan"} for row in evaluation.report["scans"]]}
    figures = [table._replace(title=table.title or "Figures") for table in tables(report)]
    ranked = evaluation.ranking is not None and evaluation.ranking.positives
    drawn = {title: png(figure_of(evaluation, name)) for name, title in PLOTS.items()} if ranked else {}
    plots = [Picture(title, image, f"{title}, whose figures are in the tables.") for title, image in drawn.items()]
    return gather(study, truth, figures=figures, plots=plots)
