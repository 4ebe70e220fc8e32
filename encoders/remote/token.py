"""A secret that a service asks for: read from the environment, sent in one header, shown nowhere."""

import re

from schemas.errors import ConfigurationError


class Token:
    """The value of an environment variable, which may be empty. Its repr shows the variable's name alone."""

    def __init__(self, variable: str, value: str) -> None:
        self.variable = variable
        self._value = value.strip()

    def __bool__(self) -> bool:
        """Whether there is one."""
        return bool(self._value)

    def __repr__(self) -> str:
        return f"Token({self.variable})"

    def headers(self) -> dict[str, str]:
        """What is sent with every request to the service.

        Raises `ConfigurationError` for what cannot stand in a header, since the HTTP library would cite it.
        """
        if not re.fullmatch(r"[!-~]*", self._value):
            raise ConfigurationError(
                f"{self.variable} has characters that no token has (a space, a line break, a letter outside ASCII); "
                "copy the token again and start again"
            )
        return {"Authorization": f"Bearer {self._value}"} if self._value else {}

    def hidden(self, text: str) -> str:
        """A text of the service, without the token where it cites it."""
        return text.replace(self._value, "***") if self._value else text
