"""A URL that cannot be parsed -> what to write instead, without a part of it: it has a password."""

import re

SEVERAL_HOSTS = re.compile(r"^postgres[^/]*://([^@/]*@)?[^/]*,")


def expected(url: str) -> str:
    """How the address is to be written."""
    if SEVERAL_HOSTS.search(url):
        return (
            "several hosts are written"
            " postgresql://USER:PASSWORD@/NAME?host=HOST1:5432&host=HOST2:5432"
        )
    return "expected sqlite:///FILE or postgresql://..."
