"""The state tables of a session and its connection: their steps, and the errors for all other steps."""

from __future__ import annotations

import pytest

from asr_async import LocalProtocolError
from asr_async._session.state import (
    CONNECTION_TRANSITIONS,
    SESSION_TRANSITIONS,
    ConnectionState,
    ConnectionStep,
    SessionConnection,
    SessionState,
    SessionStatus,
    SessionStep,
)
from asr_async.vendors.codec import Finished

from ..support.virtual_time import run_virtual


def status_in(state: SessionState) -> SessionStatus:
    status = SessionStatus(lambda _error: None)
    status.state = state
    return status


def connection_in(state: ConnectionState) -> SessionConnection:
    connection = SessionConnection()
    connection.state = state
    return connection


# --- the tables ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", SessionStep)
@pytest.mark.parametrize("state", SessionState)
def test_a_session_step_follows_the_table_or_raises_an_error_with_step_and_state(
    state: SessionState, step: SessionStep
) -> None:
    async def scenario() -> None:
        status = status_in(state)
        next_state = SESSION_TRANSITIONS.get((state, step))
        assert status.allows(step) is (next_state is not None)
        if next_state is None:
            with pytest.raises(LocalProtocolError, match=f"^cannot {step.value} while the session is {state.value}"):
                status.advance(step)
            assert status.state is state
        else:
            status.advance(step)
            assert status.state is next_state

    run_virtual(scenario)


@pytest.mark.parametrize("step", ConnectionStep)
@pytest.mark.parametrize("state", ConnectionState)
def test_a_connection_step_follows_the_table_or_raises_an_error_with_step_and_state(
    state: ConnectionState, step: ConnectionStep
) -> None:
    connection = connection_in(state)
    next_state = CONNECTION_TRANSITIONS.get((state, step))
    if next_state is None:
        with pytest.raises(LocalProtocolError, match=f"^cannot {step.value} while the connection is {state.value}$"):
            connection.advance(step)
        assert connection.state is state
    else:
        connection.advance(step)
        assert connection.state is next_state


def test_a_session_can_end_and_be_closed_in_every_state() -> None:
    for state in SessionState:
        if state not in {SessionState.ENDED, SessionState.CLOSED}:
            assert SESSION_TRANSITIONS[state, SessionStep.END] is SessionState.ENDED
    assert SESSION_TRANSITIONS[SessionState.ENDED, SessionStep.CLOSE] is SessionState.CLOSED


def test_every_state_of_a_session_can_be_reached_from_new() -> None:
    reached, previous = {SessionState.NEW}, set[SessionState]()
    while reached != previous:
        previous = set(reached)
        reached |= {after for (before, _), after in SESSION_TRANSITIONS.items() if before in reached}
    assert reached == set(SessionState)


def test_every_state_of_a_connection_can_be_reached_and_can_lead_to_up() -> None:
    def reachable(start: ConnectionState) -> set[ConnectionState]:
        reached, previous = {start}, set[ConnectionState]()
        while reached != previous:
            previous = set(reached)
            reached |= {after for (before, _), after in CONNECTION_TRANSITIONS.items() if before in reached}
        return reached

    assert reachable(ConnectionState.NONE) == set(ConnectionState)
    for state in ConnectionState:
        assert ConnectionState.UP in reachable(state)


@pytest.mark.parametrize(
    ("state", "step", "text"),
    [
        (
            SessionState.OPEN,
            SessionStep.OPEN,
            "cannot open while the session is open: it is opened once, make another with client.session(...)",
        ),
        (
            SessionState.NEW,
            SessionStep.STREAM,
            "cannot stream a source while the session is new: open it with 'async with', and use it once",
        ),
        (
            SessionState.STREAMING,
            SessionStep.PUSH,
            "cannot push audio while the session is streaming: push only into an open session, without stream()",
        ),
    ],
)
def test_the_error_for_a_wrong_call_says_what_to_do(state: SessionState, step: SessionStep, text: str) -> None:
    async def scenario() -> None:
        with pytest.raises(LocalProtocolError) as caught:
            status_in(state).advance(step)
        assert str(caught.value) == text

    run_virtual(scenario)


# --- properties of a state -------------------------------------------------------------------------------------------


def test_the_source_has_ended_while_the_session_is_finishing_ended_or_closed() -> None:
    async def scenario() -> None:
        ended = {state for state in SessionState if status_in(state).source_has_ended}
        assert ended == {SessionState.FINISHING, SessionState.ENDED, SessionState.CLOSED}
        assert {state for state in SessionState if status_in(state).has_ended} == {
            SessionState.ENDED,
            SessionState.CLOSED,
        }

    run_virtual(scenario)


def test_only_a_connection_in_the_state_up_is_up() -> None:
    assert {state for state in ConnectionState if connection_in(state).is_up} == {ConnectionState.UP}


@pytest.mark.parametrize("state", ConnectionState)
def test_stop_sending_drains_a_connection_that_is_up_and_changes_no_other(state: ConnectionState) -> None:
    connection = connection_in(state)
    connection.stop_sending()
    assert connection.state is (ConnectionState.DRAINING if state is ConnectionState.UP else state)


# --- the end ---------------------------------------------------------------------------------------------------------


def test_only_the_first_end_counts_and_an_error_of_the_source_precedes_it() -> None:
    async def scenario() -> None:
        ends: list[BaseException | None] = []
        status = SessionStatus(ends.append)
        status.source.error = ValueError("the microphone is gone")
        vendor_error = LocalProtocolError("too late")
        status.end(vendor_error)
        status.end(None)
        status.confirm()
        assert ends == [vendor_error]
        assert status.error is status.source.error
        assert not status.is_confirmed
        assert status.ended.is_set()
        with pytest.raises(ValueError, match="the microphone is gone"):
            status.raise_if_failed()
        assert repr(status) == "<SessionStatus ended>"

    run_virtual(scenario)


def test_the_end_of_a_draining_task_does_not_stop_sending_to_its_successor() -> None:
    connection = connection_in(ConnectionState.UP)
    draining, successor = object(), object()
    connection.task, connection.draining = successor, draining  # type: ignore[assignment]
    connection.record_ending(draining, Finished())  # type: ignore[arg-type]
    assert connection.is_up
    connection.record_ending(successor, Finished())  # type: ignore[arg-type]
    assert connection.state is ConnectionState.DRAINING
    assert repr(connection) == "<SessionConnection draining>"
