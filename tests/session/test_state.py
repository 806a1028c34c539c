"""The state tables of a session and its connection: the steps they contain, and the error for one they do not."""

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
def test_a_session_step_leads_where_the_table_says_or_is_an_error_with_both_names(
    state: SessionState, step: SessionStep
) -> None:
    async def scenario() -> None:
        status = status_in(state)
        following = SESSION_TRANSITIONS.get((state, step))
        assert status.allows(step) is (following is not None)
        if following is None:
            with pytest.raises(LocalProtocolError, match=f"^cannot {step.value} while the session is {state.value}"):
                status.advance(step)
            assert status.state is state
        else:
            status.advance(step)
            assert status.state is following

    run_virtual(scenario)


@pytest.mark.parametrize("step", ConnectionStep)
@pytest.mark.parametrize("state", ConnectionState)
def test_a_connection_step_leads_where_the_table_says_or_is_an_error_with_both_names(
    state: ConnectionState, step: ConnectionStep
) -> None:
    connection = connection_in(state)
    following = CONNECTION_TRANSITIONS.get((state, step))
    if following is None:
        with pytest.raises(LocalProtocolError, match=f"^cannot {step.value} while the connection is {state.value}$"):
            connection.advance(step)
        assert connection.state is state
    else:
        connection.advance(step)
        assert connection.state is following


def test_every_session_can_end_and_be_closed_from_every_state() -> None:
    for state in SessionState:
        if state not in {SessionState.ENDED, SessionState.CLOSED}:
            assert SESSION_TRANSITIONS[state, SessionStep.END] is SessionState.ENDED
    assert SESSION_TRANSITIONS[SessionState.ENDED, SessionStep.CLOSE] is SessionState.CLOSED


def test_every_state_of_a_session_is_reached_from_a_new_one() -> None:
    reached, previous = {SessionState.NEW}, set[SessionState]()
    while reached != previous:
        previous = set(reached)
        reached |= {after for (before, _), after in SESSION_TRANSITIONS.items() if before in reached}
    assert reached == set(SessionState)


def test_every_state_of_a_connection_is_reached_and_a_lost_one_can_come_up_again() -> None:
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
def test_a_caller_who_takes_a_wrong_step_reads_the_way_out(state: SessionState, step: SessionStep, text: str) -> None:
    async def scenario() -> None:
        with pytest.raises(LocalProtocolError) as caught:
            status_in(state).advance(step)
        assert str(caught.value) == text

    run_virtual(scenario)


# --- facts that follow from a state ----------------------------------------------------------------------------------


def test_the_source_has_ended_when_the_session_is_finishing_or_over() -> None:
    async def scenario() -> None:
        ended = {state for state in SessionState if status_in(state).source_has_ended}
        assert ended == {SessionState.FINISHING, SessionState.ENDED, SessionState.CLOSED}
        assert {state for state in SessionState if status_in(state).has_ended} == {
            SessionState.ENDED,
            SessionState.CLOSED,
        }

    run_virtual(scenario)


def test_messages_are_sent_on_a_connection_that_is_up_only() -> None:
    assert {state for state in ConnectionState if connection_in(state).is_up} == {ConnectionState.UP}


@pytest.mark.parametrize("state", ConnectionState)
def test_to_stop_sending_is_possible_at_any_time(state: ConnectionState) -> None:
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


def test_the_end_of_a_draining_task_does_not_stop_the_sending_to_its_successor() -> None:
    connection = connection_in(ConnectionState.UP)
    draining, successor = object(), object()
    connection.task, connection.draining = successor, draining  # type: ignore[assignment]
    connection.record_ending(draining, Finished())  # type: ignore[arg-type]
    assert connection.is_up
    connection.record_ending(successor, Finished())  # type: ignore[arg-type]
    assert connection.state is ConnectionState.DRAINING
    assert repr(connection) == "<SessionConnection draining>"
