"""What the processes that serve the API say when they cannot begin."""

import errno

import pytest

from chain.endpoint import Endpoint
from chain.service.api_process import PEERS, ProcessError, listening


@pytest.mark.parametrize(("who", "flag"), [(PEERS, "--p2p"), ("the API", "--api")])
def test_a_port_that_is_taken_is_named_with_the_flag_that_chooses_another(who, flag):
    error = OSError(errno.EADDRINUSE, "Address already in use")
    with pytest.raises(ProcessError) as caught, listening(who, Endpoint("127.0.0.1", 1)):
        raise ExceptionGroup("", [ExceptionGroup("", [error])])
    assert str(caught.value) == (
        f"cannot listen for {who} on 127.0.0.1:1: Address already in use; "
        f"{flag} HOST:PORT chooses another place"
    )
