"""What can come of a question to a service, other than an answer. None of these leaves `encoders.remote`."""


class Refused(Exception):
    """The service has judged this one input, and will not take it."""


class Unanswered(Exception):
    """No answer now; the same question may get one later.

    `wait` is what the service asks for, in seconds. `shared` says that the service is away for every question, not
    only for this one; `suspicious` that this very input may be what the service fails on.
    """

    def __init__(
        self, detail: str, *, wait: float | None = None, shared: bool = True, suspicious: bool = False
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.wait = wait
        self.shared = shared and not suspicious
        self.suspicious = suspicious


class Unexpected(Exception):
    """An answer, but not one that this service would give if it were set up for embeddings."""
