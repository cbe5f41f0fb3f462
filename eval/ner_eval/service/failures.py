"""What the service answers instead of entities: an HTTP status and one line, as JSON ``{"error": "…"}``."""

HUNG_UP = 499  # of a request whose client has gone; nobody reads it, but the log and the metrics have it


class Failed(Exception):
    """A request that gets no entities; ``wait``: seconds after which it may be sent again."""

    def __init__(self, status: int, problem: str, wait: float | None = None) -> None:
        super().__init__(problem)
        self.status, self.problem, self.wait = status, problem, wait
