"""The explorer's pages: rendered here, without JavaScript or resources from elsewhere."""

import re
from collections.abc import Callable
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from chain.primitives.address import AddressError, address_script
from chain.primitives.numbers import id_text
from chain.service.api.dependencies import Api, context_of
from chain.service.api.pages import page_data, text
from chain.service.api.queries.branches import HEADERS_SEARCHED, find_branches
from chain.service.api.snapshot import NodeSnapshot, open_snapshot
from chain.service.heartbeat import SILENT_S

QUERY_CHARACTERS_MAX: Final = 100
_PAYMENT_REQUEST: Final = re.compile(
    r"^(?:groat|bitcoin):([^?]*)(?:\?.*)?$", re.IGNORECASE | re.DOTALL
)
_NUMBER: Final = re.compile("[0-9]{1,9}")
_HEIGHT_MAX: Final = 10**9 - 1
_TEMPLATES: Final = Path(__file__).with_name("templates")

router = APIRouter(include_in_schema=False)


@router.get("/")
def home(request: Request) -> Response:
    """Show the chain as it grows."""
    return _snapshot_page(request, "home.html", page_data.home_data)


@router.get("/blocks")
def blocks(request: Request, start: str = "") -> Response:
    """List blocks from a height down; without one, from the tip."""
    first = int(start) if _NUMBER.fullmatch(start) else _HEIGHT_MAX
    return _snapshot_page(
        request, "blocks.html", lambda snapshot: page_data.blocks_data(snapshot, first)
    )


@router.get("/block/{block}")
def block(block: str, request: Request, api: Api, start: str = "0") -> Response:
    """Show a block, by id or by height."""
    with open_snapshot(api) as snapshot:
        entry = page_data.block_of(snapshot, block)
        if entry is None:
            return not_found(request, "There is no such block.")
        first = int(start) if _NUMBER.fullmatch(start) else 0
        data = page_data.block_data(snapshot, entry, first)
    return _page(request, "block.html", data)


@router.get("/tx/{txid}")
def tx(txid: str, request: Request, api: Api) -> Response:
    """Show a transaction."""
    wanted = page_data.id_of(txid)
    with open_snapshot(api) as snapshot:
        found = None if wanted is None else snapshot.find(wanted)
        if found is None:
            return not_found(request, "There is no such transaction, in the chain or waiting.")
        data = page_data.tx_data(snapshot, found)
    return _page(request, "tx.html", data)


@router.get("/address/{address}")
def address(address: str, request: Request, api: Api, after: str = "") -> Response:
    """Show an address."""
    try:
        script = address_script(address, api.params.address_prefixes)
    except AddressError as error:
        return not_found(request, f"This is {error}.")
    with open_snapshot(api) as snapshot:
        data = page_data.address_data(snapshot, address, script, page_data.id_of(after))
    return _page(request, "address.html", data)


@router.get("/mempool")
def mempool(request: Request) -> Response:
    """Show the mempool."""
    return _snapshot_page(request, "mempool.html", page_data.mempool_data)


@router.get("/peers")
def peers(request: Request) -> Response:
    """Show the peers."""
    return _snapshot_page(request, "peers.html", page_data.peers_data)


@router.get("/branches")
async def branches(request: Request, api: Api) -> Response:
    """Show the stale branches."""
    found = await find_branches(api)
    return _page(request, "branches.html", {"branches": found, "searched": HEADERS_SEARCHED})


@router.get("/search")
def search(request: Request, api: Api, q: str = "") -> Response:
    """Redirect to the page of a height, block, transaction or address; without a query, home.

    A payment request (BIP21) stands for its address.
    """
    if not q.strip():
        return RedirectResponse("/", HTTPStatus.SEE_OTHER)
    query = _PAYMENT_REQUEST.sub(r"\1", q.strip())[:QUERY_CHARACTERS_MAX]
    sentence = "Nothing here has this height or id."
    try:
        with open_snapshot(api) as snapshot:
            target = _target(snapshot, query)
    except AddressError as error:
        target, sentence = None, f"Nothing here has this height or id, and it is {error}."
    if target is None:
        data = {"sentence": sentence, "query": query}
        return _page(request, "missing.html", data, HTTPStatus.NOT_FOUND)
    return RedirectResponse(target, HTTPStatus.SEE_OTHER)


@router.get("/docs")
def docs(request: Request) -> Response:
    """List the API's operations and the methods of JSON-RPC."""
    schema = request.app.openapi()
    operations = [
        {"path": path, "method": method.upper(), **operation}
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]
    by_tag: dict[str, list[dict[str, Any]]] = {}
    for operation in operations:
        by_tag.setdefault(operation["tags"][0], []).append(operation)
    methods = request.app.state.rpc_methods
    data = {
        "by_tag": by_tag,
        "info": schema["info"],
        "rpc_methods": methods,
        "base": request.base_url,
    }
    return _page(request, "docs.html", data)


def not_found(request: Request, sentence: str) -> Response:
    """Return the page for something that does not exist."""
    return _page(request, "missing.html", {"sentence": sentence}, HTTPStatus.NOT_FOUND)


def _target(snapshot: NodeSnapshot, query: str) -> str | None:
    """Return the path of what is searched, or None. Raises AddressError: perhaps a mistyped one."""
    if page_data.block_of(snapshot, query) is not None:
        return f"/block/{query}"
    wanted = page_data.id_of(query)
    if wanted is not None:
        return None if snapshot.find(wanted) is None else f"/tx/{query}"
    if query.isdecimal():
        height = query.lstrip("0") or "0"
        return None if page_data.block_of(snapshot, height) is None else f"/block/{height}"
    address_script(query, snapshot.prefixes)
    return f"/address/{query}"


def _snapshot_page(
    request: Request, name: str, read: Callable[[NodeSnapshot], page_data.Data]
) -> Response:
    with open_snapshot(context_of(request)) as snapshot:
        data = read(snapshot)
    return _page(request, name, data)


def _page(
    request: Request, name: str, data: page_data.Data, status: HTTPStatus = HTTPStatus.OK
) -> Response:
    api = context_of(request)
    age_s = api.host.node_age_s()
    shared = {
        "network": api.params.name,
        "version": api.version,
        "now": api.clock(),
        "query": "",  # what the search field holds
        "silent_s": int(age_s) if age_s > SILENT_S else None,  # None: the node is there
    }
    html = _templates().get_template(name).render({**shared, **data})
    return HTMLResponse(html, status, headers={"Cache-Control": "no-cache"})


@cache
def _templates() -> Environment:
    """Return the templates; all values are escaped, and an undefined name is an error."""
    found = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (
        text.amount,
        text.coins,
        text.signed_amount,
        text.age,
        text.code,
        text.iso,
        text.utc,
        text.size,
        text.short,
        text.rate,
    ):
        found.filters[function.__name__] = function
    found.filters["idtext"] = id_text
    return found
