"""The service is as its OpenAPI says, whatever is sent to it (schemathesis)."""

import warnings
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of libraries that schemathesis brings
    import schemathesis

from service import served

ROUTES = [("/v1/predict", "POST"), ("/v1/removebg", "POST"), ("/v1/health", "GET"), ("/v1/model", "GET")]


@pytest.fixture(scope="module")
def schema() -> "Iterator[schemathesis.BaseSchema]":
    with served("--quiet") as (address, _):
        yield schemathesis.openapi.from_url(f"{address}/v1/openapi.json")


@pytest.mark.parametrize(("path", "method"), ROUTES)
def test_the_service_is_as_it_says(schema: "schemathesis.BaseSchema", path: str, method: str) -> None:
    @given(case=schema[path][method].as_strategy())
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    def check(case: "schemathesis.Case") -> None:
        response = case.call()
        assert response.status_code < 500 or response.status_code == 503, response.text
        # Bytes that the schema lets be a photo are hardly ever one.
        case.validate_response(response, excluded_checks=[schemathesis.checks.positive_data_acceptance])

    check()
