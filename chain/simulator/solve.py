"""Solving blocks with trivial proof of work."""

from dataclasses import replace

from chain.consensus.params import Params
from chain.consensus.work import meets_target
from chain.node.template import Template
from chain.primitives.block import Block, Header


def solved(template: Template, extranonce: int, time: int) -> Block:
    """Return the template's block with the first nonce that meets its bits."""
    header = solved_header(template.header(extranonce, time), template.params)
    return template.block(header, extranonce)


def solved_header(header: Header, params: Params) -> Header:
    """Return the header with the first nonce from its own on that meets its bits."""
    while not meets_target(header.id, header.bits, params):
        header = replace(header, nonce=header.nonce + 1)
    return header
