"""The template of a self-contained page, with what all pages share beside the report's."""

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, Template


def page_template(name: str, *, package: str = "pneumo.report") -> Template:
    """Returns a package's template of a page; what is put into it is escaped as HTML.

    Args:
        name: of the file, which may include others of its package and of the report.
        package: that the file lies in.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(each, "") for each in (package, "pneumo.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
