"""JSON-RPC over HTTP: authentication, envelopes, batches and statuses (Bitcoin: httprpc.cpp)."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import Final

from anyio import to_thread
from fastapi import Request
from fastapi.responses import Response

from chain.ledger.errors import DamagedError, DatabaseFailedError
from chain.printable import printable
from chain.service.api.bounded_reads import read_bounded, read_on_thread, read_view
from chain.service.api.context import ApiContext
from chain.service.api.error_codes import Code
from chain.service.api.exact_json import Json, write_json
from chain.service.api.hand_on import (
    HandedOn,
    HandOnCutError,
    NodeAwayError,
    NodeReply,
    effect,
    handed_on,
    shown,
)
from chain.service.api.ledger_failure import on_ledger_failure
from chain.service.api.rpc.client import Client
from chain.service.api.rpc.errors import RpcError
from chain.service.api.rpc.hand_on import (
    CHANGING,
    REPEATABLE,
    WORKING_LONG,
    is_at_node,
    known_result,
    no_reply,
)
from chain.service.api.rpc.method import Method
from chain.service.api.rpc.missing_methods import not_found
from chain.service.api.snapshot import NodeSnapshot
from chain.service.api.state.port import SnapshotUnavailableError
from chain.service.api.state.version_header import VERSION_HEADER
from chain.service.api.strict_json import (
    JsonHostileError,
    JsonSyntaxError,
    Number,
    RepeatingObject,
    read_json,
)
from chain.service.debug_log import debug_logger, is_on
from chain.service.ledger_thread import LedgerBusyError

_log: Final = debug_logger("rpc")

BATCH_MAX: Final = 10_000
BATCH_REPLY_MAX: Final = 64_000_000  # characters; beyond, a batch's further calls are not made
_CALLS_AT_ONCE: Final = 50  # of a batch, some milliseconds, before other requests get their turn
WRONG_PASSWORD_DELAY_S: Final = 0.25
_ONE: Final = (Number("1"), Number("1.0"))  # rpc-bitcoin's version; Core has refused it since 28
_BOTH_MEMBERS_AGENT: Final = "AuthServiceProxy/0.1"  # python-bitcoinrpc: its batch_ reads `error`


@dataclass(frozen=True, slots=True)
class _Request:
    """One call as received."""

    id: Json
    method: str
    params: Json
    is_strict: bool  # JSON-RPC 2.0; else the older dialects, taken as one
    has_id: bool = True
    wants_reply: bool = True  # False: a notification


@dataclass(frozen=True, slots=True)
class _Outcome:
    """A call's result or error: one of the two is None."""

    request: _Request
    result: Json = None
    error: RpcError | None = None
    is_small: bool = False  # whether its reply is written on the event loop

    def to_object(self, *, has_both: bool = False) -> Json:
        """Return the reply object: in 2.0 with one of `result` and `error`, or else with both.

        Without an id in the request there is none in a legacy reply; an error in 2.0 has null.
        """
        shown: dict[str, Json] = {}
        if self.request.is_strict:
            shown["jsonrpc"] = "2.0"
        has_both = has_both or not self.request.is_strict
        if self.error is None or has_both:
            shown["result"] = self.result
        if self.error is not None:
            shown["error"] = {"code": self.error.code, "message": self.error.message}
        elif has_both:
            shown["error"] = None
        if self.request.has_id or self.request.is_strict:
            shown["id"] = self.request.id
        return shown

    @property
    def has_ledger_failed(self) -> bool:
        """Whether the call failed because of the ledger."""
        return self.error is not None and self.error.code == Code.DATABASE

    @property
    def status(self) -> int:
        """The HTTP status of a single reply (Bitcoin: JSONErrorReply)."""
        if self.error is None:
            return HTTPStatus.OK
        if self.has_ledger_failed:
            return HTTPStatus.SERVICE_UNAVAILABLE
        if self.error.code == Code.INVALID_REQUEST:  # in 2.0 too: it is not a call
            return HTTPStatus.BAD_REQUEST
        if self.request.is_strict:
            return HTTPStatus.OK
        if self.error.code == Code.METHOD_NOT_FOUND:
            return HTTPStatus.NOT_FOUND
        return HTTPStatus.INTERNAL_SERVER_ERROR


class RpcServer:
    """Answers calls to its methods."""

    def __init__(self, api: ApiContext, methods: Mapping[str, Method]) -> None:
        self._api = api
        self._methods = methods

    async def answer(self, request: Request) -> Response:
        """Answer one HTTP request; the body is read only if the password is right."""
        header = request.headers.get("authorization")
        if header is None or not self._api.logins.accept(header):
            if header is not None:
                await asyncio.sleep(WRONG_PASSWORD_DELAY_S)
            challenge = {"WWW-Authenticate": 'Basic realm="jsonrpc"'}
            return Response(status_code=HTTPStatus.UNAUTHORIZED, headers=challenge)
        try:
            raw = await request.body()
            body = read_json(raw)
        except JsonSyntaxError:
            return _failure(RpcError(Code.PARSE, "Parse error"))
        except JsonHostileError as error:
            return _failure(RpcError(Code.PARSE, f"Parse error: {error}"))
        client = Client(request.receive)
        try:
            return await self._answer_json(client, body, request, raw)
        except LedgerBusyError:
            busy = HTTPStatus.SERVICE_UNAVAILABLE
            return Response("Work queue depth exceeded", busy, media_type="text/plain")

    def _is_at_node(self, call: Json) -> bool:
        """Return whether a call, which need not be one, is handed on as it is."""
        if self._api.hand_on is None or not isinstance(call, dict):
            return False
        name = call.get("method")
        return isinstance(name, str) and name in self._methods and is_at_node(name)

    async def _hand_on(self, client: Client, call: dict[str, Json], whole: HandedOn) -> Response:
        """Return the node's reply to a single call."""
        try:
            reply = await self._sent(client, call, whole)
        except (NodeAwayError, HandOnCutError) as error:
            outcome = _Outcome(_envelope(call), error=no_reply(error))
            return await _reply(outcome.to_object(), HTTPStatus.SERVICE_UNAVAILABLE)
        version = await effect(self._api, reply)
        if not reply.was_repeated:
            return shown(reply, version)
        try:
            again = read_json(reply.body)
        except ValueError:  # such as 401: the node's next start has another cookie
            return shown(reply, version)
        found = await known_result(self._api, call["method"], call.get("params"), again)
        response = await _reply(found)
        if version is not None:
            response.headers[VERSION_HEADER] = version
        return response

    async def _sent(self, client: Client, call: dict[str, Json], whole: HandedOn) -> NodeReply:
        """Send a call to the node; if it waits for something, only while the client does."""
        way, name = self._api.hand_on, call["method"]
        assert way is not None, "the caller has looked"
        waits = self._methods[name].waits
        whole = replace(whole, is_long=waits or name in WORKING_LONG)
        sending = way.send(whole, is_repeatable=name in REPEATABLE)
        return await (client.wait_for(sending) if waits else sending)

    async def _hand_on_part(self, client: Client, call: dict[str, Json], part: HandedOn) -> str:
        """Return the node's reply to one call of a batch, "" if it gets none."""
        try:
            _check_envelope(call)
            # An object that repeats a key would not be handed on as it came.
            self._methods[call["method"]].arguments(call.get("params"))
            body = write_json([call]).encode()
            reply = await self._sent(client, call, replace(part, body=body))
            await effect(self._api, reply)
            if not reply.body:
                return ""
            [found] = read_json(reply.body)
        except (NodeAwayError, HandOnCutError) as error:
            return await _text_of(_Outcome(_envelope(call), error=no_reply(error)))
        except RpcError as error:
            return await _text_of(_Outcome(_envelope(call), error=error))
        except ValueError:
            refused = RpcError(Code.INTERNAL, "the node refused the call")
            return await _text_of(_Outcome(_envelope(call), error=refused))
        if reply.was_repeated:
            found = await known_result(self._api, call["method"], call.get("params"), found)
        return write_json(found)

    async def _answer_json(
        self, client: Client, body: Json, request: Request, raw: bytes
    ) -> Response:
        if self._is_at_node(body):
            whole = replace(handed_on(request, raw), path="/")
            return await self._hand_on(client, body, whole)
        if isinstance(body, list):
            part = replace(handed_on(request, b""), path="/")
            return await self._answer_batch(client, body, part)
        if not isinstance(body, dict):
            return _failure(RpcError(Code.PARSE, "Top-level object parse error"))
        outcome = await self._perform(client, body)
        if not outcome.request.wants_reply:
            return _no_reply()
        if outcome.is_small:
            return _written(outcome.to_object(), outcome.status)
        return await _reply(outcome.to_object(), outcome.status)

    async def _answer_batch(self, client: Client, items: list[Json], part: HandedOn) -> Response:
        """Make the calls one after another; only the text of their replies is kept.

        An item that is not an object has no version: it gets that of the calls around it.
        """
        if len(items) > BATCH_MAX:
            problem = f"at most {BATCH_MAX} calls in a batch"
            return _failure(RpcError(Code.INVALID_REQUEST, problem))
        has_both = part.headers.get("user-agent") == _BOTH_MEMBERS_AGENT
        replies: list[str] = []
        size, status = 0, HTTPStatus.OK
        is_strict = any(isinstance(item, dict) and _is_strict(item) for item in items)
        for at, item in enumerate(items):
            if at % _CALLS_AT_ONCE == 0:
                await asyncio.sleep(0)
            is_refused = size > BATCH_REPLY_MAX
            if self._is_at_node(item) and not is_refused:
                text = await self._hand_on_part(client, item, part)
            else:
                if isinstance(item, dict):
                    outcome = await self._perform(client, item, is_refused=is_refused)
                else:
                    outcome = _no_call(is_strict=is_strict)
                if outcome.has_ledger_failed:
                    status = HTTPStatus.SERVICE_UNAVAILABLE
                text = await _text_of(outcome, has_both=has_both)
            replies += [text] if text else []
            size += len(text)
        if items and not replies:
            return _no_reply()
        return Response(f"[{','.join(replies)}]\n", status, media_type="application/json")

    async def _perform(
        self, client: Client, item: dict[str, Json], *, is_refused: bool = False
    ) -> _Outcome:
        """Make one call; its debug line never holds an argument."""
        started_s = time.perf_counter()
        outcome = await self._outcome(client, item, is_refused=is_refused)
        if is_on(_log):
            took_ms = (time.perf_counter() - started_s) * 1000
            ended = "ok" if outcome.error is None else f"error {outcome.error.code}"
            _log.debug("%s: %s, %.1f ms", printable(outcome.request.method), ended, took_ms)
        return outcome

    async def _outcome(
        self, client: Client, item: dict[str, Json], *, is_refused: bool
    ) -> _Outcome:
        request = _envelope(item)
        try:
            _check_envelope(item)
            if is_refused:
                problem = "the replies before are too large: send smaller batches"
                return _Outcome(request, error=RpcError(Code.MISC, problem))
            result, is_small = await self._run(client, request)
            return _Outcome(request, result, is_small=is_small)
        except RpcError as error:
            return _Outcome(request, error=error, is_small=True)
        except SnapshotUnavailableError as error:
            return _Outcome(request, error=RpcError(Code.MISC, str(error)))
        except (DatabaseFailedError, DamagedError) as error:
            sentence = on_ledger_failure(self._api, error)
            return _Outcome(request, error=RpcError(Code.DATABASE, sentence))

    async def _run(self, client: Client, request: _Request) -> tuple[Json, bool]:
        """Return a call's result, and whether it is small."""
        method = self._methods.get(request.method)
        if method is None:
            raise RpcError(Code.METHOD_NOT_FOUND, not_found(request.method))
        arguments = method.arguments(request.params)
        if method.waits or method.is_async:
            doing = method.function(self._api, **arguments)
            result = await (client.wait_for(doing) if method.waits else doing)
            if request.method in CHANGING:
                await self._api.wait_for_commit()
            return result, False

        if method.takes_view:
            of_view = partial(method.function, **arguments)
            return await read_view(self._api, of_view), True

        def read(snapshot: NodeSnapshot) -> Json:
            return method.function(snapshot, **arguments)

        if method.is_bounded:
            return await read_bounded(self._api, read), True
        return await read_on_thread(self._api, read), False


def _is_strict(item: dict[str, Json]) -> bool:
    """Return whether a call is JSON-RPC 2.0; anything else, numbers too, is an old dialect."""
    return item.get("jsonrpc") == "2.0"


def _envelope(item: dict[str, Json]) -> _Request:
    """Return a call's envelope, as far as it can be read even if malformed.

    An invalid request is not a notification and is answered (JSON-RPC 2.0, section 7).
    """
    is_strict = _is_strict(item)
    name, params = item.get("method"), item.get("params")
    is_call = isinstance(name, str) and isinstance(params, list | dict | None)
    return _Request(
        id=item.get("id"),
        method=name if isinstance(name, str) else "",
        params=params,
        is_strict=is_strict,
        has_id="id" in item,
        wants_reply="id" in item or not is_strict or not is_call,
    )


def _check_envelope(item: dict[str, Json]) -> None:
    """Refuse what is not a call. Raises RpcError (Bitcoin: JSONRPCRequest::parse).

    Core takes the first of two methods; a filter before the node may take the last.
    """
    if isinstance(item, RepeatingObject):
        raise RpcError(Code.INVALID_REQUEST, f"Key {item.repeated[:64]} specified multiple times")
    version = item.get("jsonrpc")
    if version in _ONE:
        version = "1.0"
    if version is not None and not isinstance(version, str):
        raise RpcError(Code.INVALID_REQUEST, "jsonrpc field must be a string")
    if version not in {None, "1.0", "2.0"}:
        raise RpcError(Code.INVALID_REQUEST, "JSON-RPC version not supported")
    if item.get("method") is None:
        raise RpcError(Code.INVALID_REQUEST, "Missing method")
    if not isinstance(item["method"], str):
        raise RpcError(Code.INVALID_REQUEST, "Method must be a string")
    if not isinstance(item.get("params"), list | dict | None):
        raise RpcError(Code.INVALID_REQUEST, "Params must be an array or object")


async def _reply(value: Json, status: int = HTTPStatus.OK) -> Response:
    """Return JSON, encoded on a worker thread: a full block takes long."""
    return await to_thread.run_sync(_written, value, status)


def _written(value: Json, status: int) -> Response:
    return Response(f"{write_json(value)}\n", status, media_type="application/json")


async def _text_of(outcome: _Outcome, *, has_both: bool = False) -> str:
    """Return a reply of a batch, "" for a notification; a large one is encoded on a thread."""
    if not outcome.request.wants_reply:
        return ""
    if outcome.is_small:
        return write_json(outcome.to_object(has_both=has_both))
    return await to_thread.run_sync(write_json, outcome.to_object(has_both=has_both))


def _no_call(*, is_strict: bool) -> _Outcome:
    """Return the outcome for a request that is not an object."""
    error = RpcError(Code.INVALID_REQUEST, "Invalid Request object")
    return _Outcome(_Request(None, "", None, is_strict=is_strict), error=error)


def _no_reply() -> Response:
    return Response(status_code=HTTPStatus.NO_CONTENT)


def _failure(error: RpcError) -> Response:
    """Return the reply to a body that has no calls; its version is unknown."""
    outcome = _Outcome(_Request(None, "", None, is_strict=False), error=error)
    return _written(outcome.to_object(), outcome.status)
