"""The rules under which a script runs: flags, and the version of Script."""

from enum import IntEnum, IntFlag, auto
from typing import Final


class VerifyFlags(IntFlag):
    """Optional rules; bits and names are Bitcoin Core's (SCRIPT_VERIFY_...)."""

    P2SH = auto()  # BIP16
    STRICTENC = auto()
    DERSIG = auto()  # BIP66
    LOW_S = auto()
    NULLDUMMY = auto()  # BIP147
    SIGPUSHONLY = auto()
    MINIMALDATA = auto()
    DISCOURAGE_UPGRADABLE_NOPS = auto()
    CLEANSTACK = auto()
    CHECKLOCKTIMEVERIFY = auto()  # BIP65
    CHECKSEQUENCEVERIFY = auto()  # BIP112
    WITNESS = auto()  # BIP141
    DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM = auto()
    MINIMALIF = auto()
    NULLFAIL = auto()
    WITNESS_PUBKEYTYPE = auto()
    CONST_SCRIPTCODE = auto()
    TAPROOT = auto()  # BIP341, BIP342
    DISCOURAGE_UPGRADABLE_TAPROOT_VERSION = auto()
    DISCOURAGE_OP_SUCCESS = auto()
    DISCOURAGE_UPGRADABLE_PUBKEYTYPE = auto()


# The rules of every block. Bitcoin: GetBlockScriptFlags, on a chain where all forks are active.
CONSENSUS: Final = (
    VerifyFlags.P2SH
    | VerifyFlags.DERSIG
    | VerifyFlags.NULLDUMMY
    | VerifyFlags.CHECKLOCKTIMEVERIFY
    | VerifyFlags.CHECKSEQUENCEVERIFY
    | VerifyFlags.WITNESS
    | VerifyFlags.TAPROOT
)
# The rules of relayed transactions. Bitcoin: STANDARD_SCRIPT_VERIFY_FLAGS.
STANDARD: Final = ~VerifyFlags.SIGPUSHONLY


class ScriptVersion(IntEnum):
    """How a script is run and what its signatures sign (Bitcoin: SigVersion)."""

    BASE = 0
    WITNESS_V0 = 1
    TAPSCRIPT = 2
