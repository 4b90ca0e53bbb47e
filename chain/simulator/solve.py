"""Solving blocks whose work is nothing."""

from dataclasses import replace

from chain.consensus.work import meets_target
from chain.node.template import Template
from chain.primitives.block import Block


def solved(template: Template, extranonce: int, time: int) -> Block:
    """Return the template's block with the first nonce that meets its bits."""
    header = template.header(extranonce, time)
    while not meets_target(header.id, header.bits, template.params):
        header = replace(header, nonce=header.nonce + 1)
    return template.block(header, extranonce)
