"""Studies and images as notebooks show them."""

from __future__ import annotations

from html import escape

from uadtools.report.contents import gather
from uadtools.report.page import image, page_html, shown
from uadtools.report.picture import glimpse, png
from uadtools.volume.io import Image
from uadtools.volume.stream import Study, study_of


class Html(str):
    """HTML that notebooks show as such."""

    def _repr_html_(self) -> str:
        return str(self)


def show(what: Study | Image, *, viewer: bool = True, height: int = 900) -> Html:
    """Show a study or an image in a notebook: the page of uad-report in a frame, whose scripts see nothing else.

    viewer: without it, three slices as a small picture. height: of the frame, in pixels. Raises UadError when there is
    nothing to show.
    """
    study = study_of(what)
    if viewer:
        page = escape(page_html(gather(study, title=study.name)))
        style = f"width: 100%; height: {height:d}px; border: 0"
        return Html(f'<iframe title="Report" sandbox="allow-scripts" style="{style}" srcdoc="{page}"></iframe>')
    grid = study.images.get("scan", study.product).grid
    size, spacing = (" x ".join(f"{value:g}" for value in values) for values in (grid.shape, grid.spacing))
    roles = what.role if isinstance(what, Image) else f"{what.name}: {', '.join(what.images)}"
    picture = image(png(glimpse(study), facecolor="black"), "Slices, what is detected outlined")
    return Html(f"<div>{picture}<p>{shown(roles)}; {size} voxels of {spacing} mm</p></div>")
