"""Exceptions whose message is meant for the user."""


class UserError(Exception):
    """A mistake in the configuration, the files or the environment: shown as one message, never as a traceback.

    The text names the key or file, the value found, what is allowed and what to do.
    """


class Refused(UserError):  # noqa: N818 - what happened
    """Another process of the run does not let us in, or not any more: what was learnt until then is worth saving."""


class ContractBroken(UserError):  # noqa: N818 - what happened
    """An environment returns what none may return: making it anew would not help."""
