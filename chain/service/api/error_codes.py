"""The error numbers of JSON-RPC (Bitcoin: RPCErrorCode); Esplora quotes them too."""

from enum import IntEnum


class Code(IntEnum):
    """Why a call failed."""

    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    INVALID_PARAMS = -32602
    INTERNAL = -32603
    PARSE = -32700
    MISC = -1  # wrong number of arguments, and errors without a more specific code
    TYPE = -3
    INVALID_ADDRESS_OR_KEY = -5  # also: no such block or transaction
    INVALID_PARAMETER = -8
    NOT_CONNECTED = -9
    INITIAL_DOWNLOAD = -10
    DATABASE = -20
    DESERIALIZATION = -22
    NODE_ALREADY_ADDED = -23  # also: banned already
    NODE_NOT_ADDED = -24
    VERIFY = -25
    VERIFY_REJECTED = -26
    ALREADY_IN_CHAIN = -27
    NODE_NOT_CONNECTED = -29
    INVALID_IP_OR_SUBNET = -30
    NODE_CAPACITY_REACHED = -34
