"""One page of everything: its templates and script hold no data, its data no markup."""

from results.page.document import Contents, Page, build

__all__ = ["Contents", "Page", "build"]
