"""Query parameters read in one pass.

FastAPI looks for each parameter by itself, which takes longer for the many of a search than reading its answer does.
"""

from typing import Annotated, Any, TypeVar

from fastapi import FastAPI, Query, Request
from pydantic import BaseModel, ValidationError

from services.search.problems import bad_parameters, validation_errors

Options = TypeVar("Options", bound=BaseModel)


def read_options(request: Request, options: type[Options]) -> Options:
    """What `Annotated[options, Query()]` would be, of parameters that are given once each. Raises `Problem` 422."""
    try:
        return options.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise bad_parameters(validation_errors(error.errors())) from None


def query_parameters(options: type[BaseModel]) -> dict[str, Any]:
    """How OpenAPI describes them, for `openapi_extra`.

    What their schemas refer to must be described by another route, one that leaves the reading to FastAPI.
    """
    app = FastAPI()

    @app.get("/")
    async def route(read: Annotated[options, Query()]) -> None:  # type: ignore[valid-type]
        pass

    return {"parameters": app.openapi()["paths"]["/"]["get"]["parameters"]}
