"""The error of a JSON-RPC call."""

from chain.service.api.error_codes import Code
from chain.service.api.submit import SubmitError


class RpcError(Exception):
    """A call failed; number and text go to the client."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def rpc_error(error: SubmitError) -> RpcError:
    """Return the RPC error for a refused submission."""
    return RpcError(error.code, error.message)
