import asyncio
import signal
import socket
import time

import httpx
import pytest
from fastapi import FastAPI, Response

from runtime.http import HttpServer
from schemas.errors import ConfigurationError


def app_with(arrived: asyncio.Event | None = None, may_answer: asyncio.Event | None = None) -> FastAPI:
    app = FastAPI()

    @app.get("/")
    async def root() -> dict[str, str]:
        return {"answer": "yes"}

    @app.get("/slow")
    async def slow() -> dict[str, str]:
        assert arrived is not None
        assert may_answer is not None
        arrived.set()
        await may_answer.wait()
        return {"answer": "late"}

    return app


async def until_refused(address: str) -> None:
    while True:
        try:
            async with httpx.AsyncClient() as client:
                await client.get(address)
        except httpx.ConnectError:
            return
        except httpx.ReadError:
            # The system had taken the connection, and the server stopped listening before it accepted that.
            continue


async def test_port_0_picks_a_port_and_the_address_says_which() -> None:
    async with HttpServer(app_with(), "127.0.0.1", 0) as server, httpx.AsyncClient() as client:
        assert server.address == f"http://127.0.0.1:{server.port}"
        assert (await client.get(server.address)).json() == {"answer": "yes"}


def test_a_busy_port_is_known_when_it_is_bound_and_the_sentence_says_what_to_do() -> None:
    first = HttpServer(app_with(), "127.0.0.1", 0)
    first.bind()
    port = first.port
    try:
        with pytest.raises(ConfigurationError) as caught:
            HttpServer(app_with(), "127.0.0.1", port).bind()
    finally:
        first.close()
    sentence = str(caught.value)
    assert sentence.startswith(f"Port {port} on 127.0.0.1 is taken by another process")
    assert "--port or PORT" in sentence


def test_a_bound_port_that_is_closed_can_be_bound_again() -> None:
    first = HttpServer(app_with(), "127.0.0.1", 0)
    first.bind()
    port = first.port
    first.close()
    second = HttpServer(app_with(), "127.0.0.1", port)
    second.bind()
    second.close()


@pytest.mark.parametrize("host", ["no-such-host.invalid", "203.0.113.7"])
def test_a_host_that_is_not_this_machine_is_refused_with_a_sentence(host: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{host}.* is no address of this machine.*SIGHTLINE_HOST"):
        HttpServer(app_with(), host, 0).bind()


async def test_the_wildcard_address_is_shown_as_one_that_a_client_can_reach() -> None:
    async with HttpServer(app_with(), "0.0.0.0", 0) as server, httpx.AsyncClient() as client:
        assert server.address.startswith("http://127.0.0.1:")
        assert (await client.get(server.address)).status_code == 200


async def test_signal_handlers_stay_as_they_were() -> None:
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    async with HttpServer(app_with(), "127.0.0.1", 0):
        assert {one: signal.getsignal(one) for one in before} == before
    assert {one: signal.getsignal(one) for one in before} == before


async def test_run_serves_until_it_is_told_to_stop_and_then_frees_the_port() -> None:
    stop = asyncio.Event()
    server = HttpServer(app_with(), "127.0.0.1", 0)
    server.bind()
    port = server.port
    running = asyncio.create_task(server.run(stop))
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"http://127.0.0.1:{port}/")).status_code == 200
    assert not running.done()
    stop.set()
    await asyncio.wait_for(running, 5)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


async def test_a_server_that_was_entered_can_be_told_to_stop() -> None:
    stop = asyncio.Event()
    async with HttpServer(app_with(), "127.0.0.1", 0) as server:
        serving = asyncio.create_task(server.serve_until(stop))
        async with httpx.AsyncClient() as client:
            assert (await client.get(server.address)).status_code == 200
        assert not serving.done()
        stop.set()
        await asyncio.wait_for(serving, 5)


async def test_a_request_under_way_is_answered_before_the_server_ends() -> None:
    arrived, may_answer, stop = asyncio.Event(), asyncio.Event(), asyncio.Event()
    server = HttpServer(app_with(arrived, may_answer), "127.0.0.1", 0)
    server.bind()
    address = server.address
    running = asyncio.create_task(server.run(stop))
    async with httpx.AsyncClient() as client:
        asking = asyncio.create_task(client.get(f"{address}/slow"))
        await arrived.wait()
        stop.set()
        await until_refused(address)
        assert not running.done()
        may_answer.set()
        assert (await asking).json() == {"answer": "late"}
    await asyncio.wait_for(running, 5)


async def test_a_request_that_never_ends_is_given_up_after_the_drain_time() -> None:
    arrived, never, stop = asyncio.Event(), asyncio.Event(), asyncio.Event()
    server = HttpServer(app_with(arrived, never), "127.0.0.1", 0, drain_seconds=1)
    server.bind()
    address = server.address
    running = asyncio.create_task(server.run(stop))
    async with httpx.AsyncClient() as client:
        asking = asyncio.create_task(client.get(f"{address}/slow"))
        await arrived.wait()
        stop.set()
        await asyncio.wait_for(running, 5)
        with pytest.raises(httpx.HTTPError):
            (await asking).raise_for_status()


async def test_connections_made_between_bind_and_serving_are_answered() -> None:
    server = HttpServer(app_with(), "127.0.0.1", 0)
    server.bind()
    async with httpx.AsyncClient() as client:
        asking = asyncio.create_task(client.get(server.address))
        async with server:
            assert (await asking).status_code == 200


async def test_no_connection_outlives_the_server_though_it_came_in_the_moment_of_stopping() -> None:
    server = HttpServer(app_with(), "127.0.0.1", 0, drain_seconds=30)
    async with server:
        silent = socket.create_connection(("127.0.0.1", server.port), timeout=5)
        # The loop is held up until the server looks again whether it should stop: that and the connection, which the
        # system has taken already, then come in the same turn.
        time.sleep(0.3)  # noqa: ASYNC251
        since = time.monotonic()
    with silent:
        assert time.monotonic() - since < 15, "a connection that nobody spoke on held the server for its drain time"
        assert silent.recv(1) == b""


async def test_no_connection_outlives_the_server_though_its_client_reads_nothing() -> None:
    app = FastAPI()

    @app.get("/")
    async def much() -> Response:
        return Response(b"x" * 50_000_000)

    async with HttpServer(app, "127.0.0.1", 0, drain_seconds=1) as server:
        asking = socket.create_connection(("127.0.0.1", server.port), timeout=5)
        asking.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        assert await asyncio.to_thread(asking.recv, 12) == b"HTTP/1.1 200"
    with asking:
        came = 0
        while some := len(asking.recv(1_000_000)):
            came += some
    assert came < 50_000_000
